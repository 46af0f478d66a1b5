"""Telegram inside the process, for tests in simulated time: a real aiogram Bot whose session answers by a function."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

from aiogram import Bot
from aiogram.client.session.base import BaseSession
from aiogram.methods import TelegramMethod

from ai_assistant.bot.pacing import Pacer

Answer = tuple[int, dict[str, Any]] | Exception | None
"""Status and body, an error of the network, or None for what Telegram says when all is well."""


class ScriptedSession(BaseSession):
    """Counts when which request arrived (loop time), and asks `script` for the answer."""

    def __init__(self, script: Callable[[TelegramMethod[Any]], Answer], latency: float) -> None:
        super().__init__()
        self.script = script
        self.latency = latency
        self.calls: list[tuple[float, TelegramMethod[Any]]] = []

    async def make_request(self, bot: Bot, method: TelegramMethod[Any], timeout: int | None = None) -> Any:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.latency / 2)
        self.calls.append((loop.time(), method))
        answer = self.script(method) or (200, {"ok": True, "result": self.result(method)})
        await asyncio.sleep(self.latency / 2)
        if isinstance(answer, Exception):
            raise answer
        return self.check_response(bot, method, answer[0], json.dumps(answer[1])).result

    def result(self, method: TelegramMethod[Any]) -> Any:
        name = method.__api_method__
        if name == "getMe":
            return {"id": 4242, "is_bot": True, "first_name": "Test", "username": "test_bot"}
        if name.startswith(("send", "edit")) and name not in ("sendChatAction", "sendMessageDraft"):
            chat = {"id": method.chat_id, "type": "private"}  # type: ignore[attr-defined]
            message_id = getattr(method, "message_id", None) or 1000 + len(self.calls)
            return {"message_id": message_id, "date": 1, "chat": chat}
        return True

    def times(self, chat_id: int | None = None) -> list[float]:
        """When requests (to one chat) arrived."""
        return [at for at, method in self.calls if chat_id is None or getattr(method, "chat_id", None) == chat_id]

    async def close(self) -> None:
        pass

    async def stream_content(self, *_: Any, **__: Any) -> AsyncGenerator[bytes, None]:
        yield b""


def flood(seconds: int) -> Answer:
    description = f"Too Many Requests: retry after {seconds}"
    return 429, {"ok": False, "error_code": 429, "description": description, "parameters": {"retry_after": seconds}}


def refusal(status: int, description: str, **parameters: Any) -> Answer:
    return status, {"ok": False, "error_code": status, "description": description, "parameters": parameters}


def scripted_bot(script: Callable[[TelegramMethod[Any]], Answer] = lambda _: None, latency: float = 0.05) -> Bot:
    """With a Pacer. `bot.session` is the ScriptedSession."""
    session = ScriptedSession(script, latency)
    session.middleware(Pacer())
    return Bot("4242:test-token", session=session)
