"""A Telegram of one's own for each test, and a bot of aiogram's to call it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from telegram import TOKEN, BotApi, started_bot_api


@pytest.fixture
def api() -> Iterator[BotApi]:
    with started_bot_api() as api:
        yield api


@pytest.fixture
async def bot(api: BotApi) -> AsyncIterator[Bot]:
    session = AiohttpSession(api=TelegramAPIServer.from_base(api.url), timeout=5)
    yield Bot(TOKEN, session)
    # aiogram's own close waits for connections with TLS, of which there are none
    if session._session is not None:
        await session._session.close()
