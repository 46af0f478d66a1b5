"""The platform, bot and Telegram that a module's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_processes import Platform
from servers import Server
from telegram import started_bot_api

from integration.telegram_town import Town


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, postgres: Server, valkey: Server, demo_package: Path) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    platform = Platform(folder, postgres, valkey, demo_package, AI_ASSISTANT_TEMPERATURE="0", AI_ASSISTANT_MAX_TOKENS="220")
    try:
        with started_bot_api() as api:
            yield Town(platform, api, folder)
            platform.close()
    finally:
        platform.close()
