"""A line in the log per update: which kind it was, where, how long it took and what became of it. Nothing of what people
write, and nothing of who they are."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiogram import BaseMiddleware
from aiogram.dispatcher.event.bases import UNHANDLED
from aiogram.types import TelegramObject, Update

from ai_assistant.logs import request_id

logger = logging.getLogger(__name__)


class UpdateLog(BaseMiddleware):
    """The outermost one. Gives every update a request id, which goes to the gateway as X-Request-ID and from there to the
    worker. What ends an update early writes why into `data["outcome"]`."""

    async def __call__(
        self, handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]], event: TelegramObject, data: dict[str, Any]
    ) -> Any:
        if not isinstance(event, Update):
            raise TypeError("UpdateLog belongs to updates.")
        token = request_id.set(f"tg-{event.update_id}")
        started = time.perf_counter()
        outcome = "failed"
        try:
            result = await handler(event, data)
            outcome = data.get("outcome") or ("not_handled" if result is UNHANDLED else "handled")
            return result
        finally:
            chat = data.get("event_chat")
            fields = {
                "kind": kind_of(event),
                "chat": chat.type if chat is not None else None,
                "ms": round((time.perf_counter() - started) * 1000, 1),
                "outcome": outcome,
            }
            # a group's own talk is not worth a line each
            level = logging.DEBUG if outcome == "not_for_the_bot" else logging.INFO
            logger.log(level, "update", extra={name: value for name, value in fields.items() if value is not None})
            request_id.reset(token)


def kind_of(update: Update) -> str:
    """`message`, `callback_query`, and so on; `unknown` for what Telegram has added since."""
    return next(
        (name for name in type(update).model_fields if name != "update_id" and getattr(update, name) is not None), "unknown"
    )
