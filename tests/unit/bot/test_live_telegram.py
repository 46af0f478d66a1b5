"""Live answers over HTTP, against a Telegram that is strict about drafts, entities and its own pauses."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from telegram import TOKEN, BotApi, faults, started_bot_api

from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.live import Live
from ai_assistant.bot.pacing import Pacer
from live_gateway import LiveGateway, LiveTask

MARKDOWN = """# Title

Some **bold** text, `code` and 🌍.

```python
print("hi")
```

| a | b |
|---|---|
| 1 | 2 |

* item [link](https://example.org)
"""


class Show:
    def __init__(self, api: BotApi) -> None:
        self.api = api
        self.gateway = LiveGateway()
        self.session = AiohttpSession(api=TelegramAPIServer.from_base(api.url))
        pacer = Pacer()
        self.session.middleware(pacer)
        self.live = Live(Bot(TOKEN, session=self.session), cast(GatewayClient, self.gateway), pacer)

    async def write(self, task: LiveTask, text: str, seconds: float) -> None:
        """All of the text, a few characters at a time."""
        pieces = round(seconds / 0.02)
        size = -(-len(text) // pieces)
        for start in range(0, len(text), size):
            self.gateway.write(task, text[start : start + size])
            await asyncio.sleep(0.02)


@pytest.fixture
async def show() -> AsyncIterator[Show]:
    with started_bot_api() as api:
        show = Show(api)
        yield show
        await show.live.stop()
        # aiogram's own close waits for connections with TLS, of which there are none
        await (await show.session.create_session()).close()


async def test_drafts_with_a_pause_in_between(show: Show) -> None:
    anna = show.api.person(7)
    anna.says("Hello")
    task = show.gateway.task(7)
    show.live.follow(task.id, task.target)
    await show.write(task, MARKDOWN, 0.5)
    show.api.faults.next(faults.flood(1), "sendMessageDraft")
    await show.write(task, MARKDOWN, 1.6)
    calls = show.api.record.of("sendMessageDraft")
    assert show.api.flood.violations == []
    assert {call.code for call in calls} == {200, 429}, [call.outcome for call in calls]
    frame = show.api.draft(7)
    assert frame is not None
    assert "Title" in frame.text
    assert len(show.api.drafts.frames) >= 3


async def test_the_message_of_a_group_is_what_the_ledger_gets(show: Show) -> None:
    group = show.api.group(-100, [show.api.person(7)])
    question = show.api.person(7).mentions_bot("Hello", group)
    task = show.gateway.task(-100, reply_to=question)
    show.live.follow(task.id, task.target)
    await show.write(task, MARKDOWN, 1.6)
    await asyncio.sleep(0.3)

    message_id = await show.live.finish(task.id)
    (message,) = show.api.answers(-100)
    assert message.message_id == message_id == task.preview_message_id
    assert message.reply_to == question
    assert message.edits
    assert {call.code for call in show.api.record.of()} == {200}
