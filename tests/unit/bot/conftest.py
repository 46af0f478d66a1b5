"""A Telegram and a gateway on loopback for the tests of what the bot does with messages."""

from collections.abc import AsyncIterator

import pytest

from chat_scene import Scene, started_doubles, started_scene


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    with started_doubles() as (api, gateway):
        async with started_scene(api, gateway) as scene:
            yield scene
