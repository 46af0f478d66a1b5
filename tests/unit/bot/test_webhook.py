"""Updates that Telegram brings: who may bring them, and when they are taken as done."""

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiogram import Router
from aiogram.types import Message, Update

from ai_assistant.bot import webhook as webhook_module
from ai_assistant.bot.webhook import MAX_BODY, SECRET_HEADER, Webhook, webhook_secret
from ai_assistant.errors import ConfigurationError
from ai_assistant.settings import BotSettings
from unit.bot.polled_telegram import Polled, message, until

SECRET = "sixteen-letters_or-more"
URL = "https://bot.example.org/telegram"


def settings(**given: Any) -> BotSettings:
    return BotSettings(telegram_webhook_url=URL, telegram_webhook_secret=SECRET, telegram_webhook_port=0, **given)


class Hooked(Polled):
    """The same bot, with a webhook."""

    def __init__(self) -> None:
        self.router = Router()
        self.router.message.register(self.handle)
        self.handled: list[int] = []
        self.gate = asyncio.Event()
        super().__init__(self.router)
        self.webhook = Webhook(self.intake, self.line, ["message"], settings())
        self.base = ""

    async def handle(self, message: Message, event_update: Update) -> None:
        if message.text == "wait":
            await self.gate.wait()
        self.handled.append(event_update.update_id)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[aiohttp.ClientSession]:
        task = asyncio.create_task(self.webhook.run())
        async with aiohttp.ClientSession() as client:
            try:
                await until(lambda: self.telegram.webhook and self.webhook.port)
                self.base = f"http://127.0.0.1:{self.webhook.port}"
                yield client
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await self.webhook.drain(0)

    async def bring(self, client: aiohttp.ClientSession, update: Any, secret: str | None = SECRET) -> int:
        headers = {} if secret is None else {SECRET_HEADER: secret}
        body = io.BytesIO(update if isinstance(update, bytes) else json.dumps(update).encode())
        async with client.post(f"{self.base}/telegram", data=body, headers=headers) as response:
            return response.status


async def test_an_update_is_done_when_it_has_been_handled() -> None:
    bot = Hooked()
    async with bot.serving() as client:
        assert (
            bot.telegram.sent[0][0],
            {name: bot.telegram.sent[0][1][name] for name in ("url", "secret_token", "allowed_updates")},
        ) == ("setWebhook", {"url": URL, "secret_token": SECRET, "allowed_updates": ["message"]})
        assert bot.telegram.sent[0][1]["drop_pending_updates"] is False
        assert await bot.bring(client, message(10)) == 200
        assert bot.handled == [10]
        # Telegram lost patience and comes again while the first call is still being handled
        calls = [asyncio.create_task(bot.bring(client, message(11, text="wait"))) for _ in range(2)]
        later = asyncio.create_task(bot.bring(client, message(12)))
        other = asyncio.create_task(bot.bring(client, message(13, chat=8)))
        assert await other == 200
        assert bot.handled == [10, 13]
        bot.gate.set()
        assert await asyncio.gather(*calls, later) == [200, 200, 200]
        assert bot.handled == [10, 13, 11, 12]


@pytest.mark.parametrize("secret", [None, "", SECRET[:-1], SECRET + "x", "й" * 16])
async def test_strangers_are_refused_before_their_body_is_read(secret: str | None) -> None:
    bot = Hooked()
    async with bot.serving() as client:
        if secret is None or secret.isascii():
            assert await bot.bring(client, message(10), secret) == 403
        reader, writer = await asyncio.open_connection("127.0.0.1", bot.webhook.port)
        given = (secret or "").encode()
        head = b"POST /telegram HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n%s: %s\r\n\r\n"
        writer.write(head % (SECRET_HEADER.encode(), given))
        assert b" 403 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()
    assert bot.handled == []


async def test_what_is_no_update() -> None:
    bot = Hooked()
    async with bot.serving() as client:
        assert await bot.bring(client, b"{") == 400
        assert await bot.bring(client, b"[]") == 400
        assert await bot.bring(client, b" " * (MAX_BODY + 1)) == 413
        # nothing to be had by bringing it again
        assert await bot.bring(client, {"update_id": 10, "message": {"text": 1}}) == 200
        for path, status in (("/", 404), ("/telegram", 405), ("/metrics", 404), ("/livez", 200)):
            async with client.get(f"{bot.base}{path}") as response:
                assert response.status == status


async def test_what_is_not_handled_when_the_bot_stops_comes_again() -> None:
    bot = Hooked()
    async with bot.serving() as client:
        call = asyncio.create_task(bot.bring(client, message(10, text="wait")))
        await until(lambda: bot.intake.is_busy)
        await bot.webhook.drain(0.05)
        assert await call == 503


async def test_failures_of_telegrams_are_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(webhook_module, "LOOK_SECONDS", 0.01)
    bot = Hooked()
    bot.telegram.updates = [message(1)]
    bot.telegram.webhook_error = "Connection refused"
    with caplog.at_level(logging.WARNING):
        async with bot.serving():
            await asyncio.sleep(0.05)
            bot.telegram.webhook = ""
            await until(lambda: bot.telegram.webhook == URL)
    assert caplog.text.count("Telegram cannot bring its updates (Connection refused") == 1
    assert "Another process has changed the webhook to none; it is set again" in caplog.text


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"telegram_webhook_url": "http://bot.example.org"}, "WEBHOOK_URL"),
        ({"telegram_webhook_url": "bot.example.org/x"}, "WEBHOOK_URL"),
        ({"telegram_webhook_url": "https://bot.example.org/livez"}, "taken by a probe"),
        ({"telegram_webhook_url": URL}, "WEBHOOK_SECRET is needed"),
        ({"telegram_webhook_url": URL, "telegram_webhook_secret": "s3cret"}, "16 to 256"),
        ({"telegram_webhook_url": URL, "telegram_webhook_secret": "s3cret" * 4 + "!"}, "16 to 256"),
    ],
)
def test_no_start_without_a_good_secret_and_url(given: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigurationError, match=part) as caught:
        webhook_secret(BotSettings(**given))
    assert "s3cret" not in caught.value.message
