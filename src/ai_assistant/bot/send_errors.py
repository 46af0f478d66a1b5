"""What an error of Telegram's means: for the request that met it, and as a report on a delivery to the gateway.

An error that the Bot API answered with means that nothing was sent. Without its answer the message may have arrived.
"""

from enum import StrEnum
from typing import Any

from aiogram.exceptions import (
    ClientDecodeError,
    RestartingTelegram,
    TelegramAPIError,
    TelegramBadRequest,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiohttp import ClientConnectorError, ClientHttpProxyError, ConnectionTimeoutError
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

DAY_SECONDS = 24 * 3600
MAX_ERROR_CHARS = 1000

NEVER_CONNECTED = (
    ClientConnectorError,
    ClientHttpProxyError,
    ConnectionTimeoutError,
    ProxyConnectionError,
    ProxyError,
    ProxyTimeoutError,
)


class Obstacle(StrEnum):
    """Why Telegram refuses a message as it is, although it may take it in another form."""

    UNCHANGED = "unchanged"
    """An edit that changes nothing: it is there already."""
    NOT_EDITABLE = "not_editable"
    """The message to edit is gone, or cannot be edited (any more)."""
    NO_THREAD = "no_thread"
    """The topic is deleted or closed."""
    NO_QUESTION = "no_question"
    """The message to reply to is gone."""
    TOO_LONG = "too_long"
    ENTITIES = "entities"
    """Formatting that Telegram does not accept."""


OBSTACLES = {
    Obstacle.UNCHANGED: ("message is not modified", "message_not_modified"),
    Obstacle.NOT_EDITABLE: (
        "message to edit not found",
        "message can't be edited",
        "message identifier is not specified",
        "message_id_invalid",
        "message_edit_time_expired",
        "message_author_required",
        "no text in the message to edit",
    ),
    Obstacle.NO_THREAD: ("thread not found", "topic_closed", "topic_deleted", "topic not found", "topic_id_invalid"),
    Obstacle.NO_QUESTION: (
        "message to be replied not found",
        "message to reply not found",
        "replied message not found",
        "reply message not found",
        "reply_message_id_invalid",
    ),
    Obstacle.TOO_LONG: ("message is too long", "message_too_long", "text is too long", "caption is too long"),
    Obstacle.ENTITIES: ("can't parse entities", "can't parse messageentity", "entity", "entities"),
}
"""In this order: what is named first is meant."""

GONE = (
    "chat not found",
    "peer_id_invalid",
    "user not found",
    "group chat was deleted",
    "chat was deleted",
    "group chat was upgraded",
    "group chat is deactivated",
    "input_user_deactivated",
    "user is deactivated",
    "channel_private",
)
"""In refusals of a target, not of a message."""

MUTED = (
    "not enough rights",
    "have no rights to send",
    "chat_write_forbidden",
    "chat_restricted",
    "chat_send_",
    "need administrator rights",
)
"""The bot is there and may not write. That can change, so the chat is not given up."""


def obstacle_of(error: Exception) -> Obstacle | None:
    """What to change before the message is tried once more; None where nothing would help."""
    if not isinstance(error, TelegramBadRequest):
        return None
    sentence = error.message.lower()
    return next((obstacle for obstacle, words in OBSTACLES.items() if any(word in sentence for word in words)), None)


def is_hopeless(error: TelegramBadRequest) -> bool:
    """True if no form of the message would be taken: it is about the chat, or about what the bot may do there."""
    return any(words in error.message.lower() for words in (*GONE, *MUTED))


def never_connected(error: Exception) -> bool:
    """True if the request cannot have reached Telegram."""
    cause = error.__cause__ if isinstance(error, TelegramNetworkError) else error
    return isinstance(cause, NEVER_CONNECTED)


def is_passing(error: Exception) -> bool:
    """True for errors of the network or of Telegram's servers, which say nothing about the request."""
    if isinstance(error, TelegramEntityTooLarge):
        return False
    return isinstance(error, (TelegramNetworkError, TelegramServerError, *NEVER_CONNECTED))


def may_have_arrived(error: Exception) -> bool:
    """True if nobody knows whether the message was sent."""
    if isinstance(error, TelegramServerError):
        # most often a proxy before the Bot API speaks, and does not know either
        return not isinstance(error, RestartingTelegram)
    if isinstance(error, TelegramAPIError) and not isinstance(error, TelegramNetworkError):
        return False
    return not never_connected(error)


def report_of(error: Exception) -> dict[str, Any]:
    """The event with its details."""
    # An answer that cannot be read holds the person's text, which has no place in logs and ledgers.
    known = "" if isinstance(error, ClientDecodeError) else str(error)
    sentence = (known or type(error).__name__)[:MAX_ERROR_CHARS]
    if isinstance(error, TelegramRetryAfter):
        return {"event": "retry_after", "seconds": min(error.retry_after, DAY_SECONDS)}
    if isinstance(error, TelegramMigrateToChat):
        return {"event": "moved", "chat_id": error.migrate_to_chat_id}
    if isinstance(error, (TelegramForbiddenError, TelegramBadRequest)):
        words = sentence.lower()
        if any(word in words for word in MUTED):
            return {"event": "refused", "error": sentence}
        is_gone = isinstance(error, TelegramForbiddenError) or any(word in words for word in GONE)
        return {"event": "dead" if is_gone else "refused", "error": sentence}
    if isinstance(error, TelegramEntityTooLarge):
        return {"event": "refused", "error": sentence}
    return {"event": "failed", "error": sentence, "uncertain": may_have_arrived(error)}
