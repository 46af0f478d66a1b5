"""What becomes of a delivery after each kind of error."""

import aiohttp
import pytest
from aiogram.exceptions import (
    ClientDecodeError,
    RestartingTelegram,
    TelegramAPIError,
    TelegramBadRequest,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.methods import SendMessage
from aiohttp_socks import ProxyConnectionError

from ai_assistant.bot.send_errors import Obstacle, obstacle_of, report_of

METHOD = SendMessage(chat_id=1, text="x")


def network_error(cause: Exception) -> TelegramNetworkError:
    error = TelegramNetworkError(METHOD, "HTTP error")
    error.__cause__ = cause
    return error


NOT_CONNECTED = aiohttp.ClientConnectorError(None, OSError("refused"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "event", "uncertain"),
    [
        (TelegramForbiddenError(METHOD, "Forbidden: bot was blocked by the user"), "dead", None),
        (TelegramBadRequest(METHOD, "Bad Request: chat not found"), "dead", None),
        (TelegramForbiddenError(METHOD, "Forbidden: user is deactivated"), "dead", None),
        (TelegramBadRequest(METHOD, "Bad Request: message text is empty"), "refused", None),
        (TelegramBadRequest(METHOD, "Bad Request: not enough rights to send text messages to the chat"), "refused", None),
        (TelegramForbiddenError(METHOD, "Forbidden: CHAT_WRITE_FORBIDDEN"), "refused", None),
        (TelegramEntityTooLarge(METHOD, "Request Entity Too Large"), "refused", None),
        # the Bot API has answered: nothing was sent
        (RestartingTelegram(METHOD, "Internal Server Error: restart"), "failed", False),
        (TelegramNotFound(METHOD, "Not Found"), "failed", False),
        (TelegramAPIError(METHOD, "Too Many Requests"), "failed", False),
        (network_error(NOT_CONNECTED), "failed", False),
        (ProxyConnectionError("Couldn't connect to proxy"), "failed", False),
        # nobody knows
        (TelegramServerError(METHOD, "Bad Gateway"), "failed", True),
        (network_error(TimeoutError()), "failed", True),
        (ClientDecodeError("Failed to decode object", ValueError(), "<html>"), "failed", True),
        (ConnectionResetError(), "failed", True),
    ],
)
def test_report(error: Exception, event: str, uncertain: bool | None) -> None:
    report = report_of(error)
    assert (report["event"], report.get("uncertain")) == (event, uncertain)
    assert report["error"]


def test_flood_control_is_obeyed_in_full() -> None:
    assert report_of(TelegramRetryAfter(METHOD, "Too Many Requests", 149)) == {"event": "retry_after", "seconds": 149}


def test_a_pause_is_at_most_what_the_ledger_takes() -> None:
    assert report_of(TelegramRetryAfter(METHOD, "Too Many Requests", 10**6))["seconds"] == 24 * 3600


def test_a_group_that_became_a_supergroup() -> None:
    error = TelegramMigrateToChat(METHOD, "Bad Request: group chat was upgraded to a supergroup chat", -1001)
    assert report_of(error) == {"event": "moved", "chat_id": -1001}


def test_a_long_error_fits_a_report() -> None:
    assert len(report_of(ClientDecodeError("Failed to decode object", ValueError(), "<html>" * 5000))["error"]) <= 1000


@pytest.mark.parametrize(
    ("sentence", "obstacle"),
    [
        ("Bad Request: message is not modified: specified new message content is exactly the same", Obstacle.UNCHANGED),
        ("Bad Request: message to edit not found", Obstacle.NOT_EDITABLE),
        ("Bad Request: message can't be edited", Obstacle.NOT_EDITABLE),
        ("Bad Request: message thread not found", Obstacle.NO_THREAD),
        ("Bad Request: TOPIC_CLOSED", Obstacle.NO_THREAD),
        ("Bad Request: message to be replied not found", Obstacle.NO_QUESTION),
        ("Bad Request: message is too long", Obstacle.TOO_LONG),
        ("Bad Request: can't parse entities: Can't find end of the entity starting at byte offset 3", Obstacle.ENTITIES),
        ("Bad Request: ENTITY_BOUNDS_INVALID", Obstacle.ENTITIES),
        ("Bad Request: chat not found", None),
    ],
)
def test_obstacle(sentence: str, obstacle: Obstacle | None) -> None:
    assert obstacle_of(TelegramBadRequest(METHOD, sentence)) == obstacle
    assert obstacle_of(TelegramForbiddenError(METHOD, sentence)) is None
