"""What an error of Telegram's means for a delivery, as a report to the gateway.

An error that the Bot API answered with means that nothing was sent. Without an answer the message may have arrived.
"""

from typing import Any

from aiogram.exceptions import (
    TelegramAPIError,
    TelegramBadRequest,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramRetryAfter,
)
from aiohttp import ClientConnectorError

GONE = ("chat not found", "peer_id_invalid", "user not found", "group chat was deleted", "chat was deleted")
"""In refusals of a target, not of a message."""


def report_of(error: Exception) -> dict[str, Any]:
    """The event with its details."""
    sentence = str(error) or type(error).__name__
    if isinstance(error, TelegramRetryAfter):
        return {"event": "retry_after", "seconds": error.retry_after}
    if isinstance(error, TelegramForbiddenError):
        return {"event": "dead", "error": sentence}
    if isinstance(error, TelegramBadRequest):
        is_gone = any(words in sentence.lower() for words in GONE)
        return {"event": "dead" if is_gone else "refused", "error": sentence}
    if isinstance(error, TelegramEntityTooLarge):
        return {"event": "refused", "error": sentence}
    if isinstance(error, TelegramNetworkError):
        # never connected: nothing can have arrived
        return {"event": "failed", "error": sentence, "uncertain": not isinstance(error.__cause__, ClientConnectorError)}
    return {"event": "failed", "error": sentence, "uncertain": not isinstance(error, TelegramAPIError)}
