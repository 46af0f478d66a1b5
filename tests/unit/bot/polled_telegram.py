"""Telegram's queue of updates behind a real `Bot`: what getUpdates gives and forgets, and what the bot sends."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from aiogram import Bot, Dispatcher, Router
from aiogram.client.session.base import BaseSession
from aiogram.methods import TelegramMethod
from prometheus_client import CollectorRegistry

from ai_assistant.bot.health import Pulse
from ai_assistant.bot.intake import Intake
from ai_assistant.bot.polling import Polling
from ai_assistant.bot.telegram_line import TelegramLine
from ai_assistant.bot.trouble import Trouble
from ai_assistant.metrics import BotMetrics

TOKEN = "4242:test-token-of-nobody"


def message(update_id: int, chat: int = 7, text: str = "Hello", kind: str = "private") -> dict[str, Any]:
    sender = {"id": 7, "is_bot": False, "first_name": "Anna", "language_code": "ru"}
    body = {"message_id": update_id, "date": 1_700_000_000, "chat": {"id": chat, "type": kind}, "from": sender, "text": text}
    return {"update_id": update_id, "message": body}


class PolledTelegram(BaseSession):
    """A session that answers itself."""

    def __init__(self) -> None:
        super().__init__()
        self.updates: list[dict[str, Any]] = []
        self.polls: list[dict[str, Any]] = []
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[tuple[int, str]] = []
        """Status and description of the next answers to getUpdates."""
        self.webhook = ""
        self.webhook_error = ""
        self.came = asyncio.Event()

    def bring(self, *updates: dict[str, Any]) -> None:
        self.updates += updates
        self.came.set()

    async def make_request(self, bot: Bot, method: TelegramMethod[Any], timeout: int | None = None) -> Any:
        name, body = method.__api_method__, method.model_dump(exclude_none=True, warnings=False)
        status, description, result = 200, None, await self.result(name, body)
        if name == "getUpdates":
            if self.faults:
                status, description = self.faults.pop(0)
            elif self.webhook:
                status, description = 409, "Conflict: can't use getUpdates method while webhook is active"
        answer = {"ok": status == 200, "description": description, "result": result if status == 200 else None}
        return self.check_response(bot, method, status, self.json_dumps(answer)).result

    async def result(self, name: str, body: dict[str, Any]) -> Any:
        if name == "getUpdates":
            return await self.poll(body)
        self.sent.append((name, body))
        if name == "getWebhookInfo":
            info = {"url": self.webhook, "has_custom_certificate": False, "pending_update_count": len(self.updates)}
            return info | ({"last_error_message": self.webhook_error, "last_error_date": 1} if self.webhook_error else {})
        if name == "deleteWebhook":
            self.webhook = ""
        if name == "setWebhook":
            self.webhook = body["url"]
        if name == "sendMessage":
            return {"message_id": 1, "date": 1, "chat": {"id": body["chat_id"], "type": "private"}, "text": body["text"]}
        return True

    async def poll(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        self.polls.append(body)
        self.updates = [update for update in self.updates if update["update_id"] >= body.get("offset", 0)]
        if not self.updates and body.get("timeout") and not self.faults:
            self.came.clear()
            await self.came.wait()
        await asyncio.sleep(0)
        return self.updates[: body.get("limit", 100)]

    def texts(self) -> list[str]:
        return [body["text"] for name, body in self.sent if name == "sendMessage"]

    async def close(self) -> None:
        pass

    async def stream_content(self, *_: Any, **__: Any) -> AsyncGenerator[bytes, None]:
        yield b""


class Polled:
    """A bot that polls, and whose only router is the test's."""

    def __init__(self, router: Router) -> None:
        self.telegram = PolledTelegram()
        self.bot = Bot(TOKEN, session=self.telegram)
        self.metrics = BotMetrics(CollectorRegistry())
        dispatcher = Dispatcher()
        dispatcher.include_router(router)
        self.intake = Intake(self.bot, dispatcher, self.metrics, patience_seconds=0.2)
        self.line = TelegramLine(self.bot, Trouble(), Pulse())
        self.polling = Polling(self.bot, self.intake, self.line, dispatcher.resolve_used_update_types())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.polling.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.intake.stop(0)

    def left(self) -> list[int]:
        """What Telegram has not been told to forget."""
        return [update["update_id"] for update in self.telegram.updates]


async def until(condition: Any, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)
