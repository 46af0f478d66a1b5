"""What becomes of a delivery after each kind of error."""

import aiohttp
import pytest
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramAPIError,
    TelegramBadRequest,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.methods import SendMessage

from ai_assistant.bot.send_errors import report_of

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
        (TelegramBadRequest(METHOD, "Bad Request: message text is empty"), "refused", None),
        (TelegramEntityTooLarge(METHOD, "Request Entity Too Large"), "refused", None),
        # the Bot API has answered: nothing was sent
        (TelegramServerError(METHOD, "Bad Gateway"), "failed", False),
        (TelegramNotFound(METHOD, "Not Found"), "failed", False),
        (TelegramAPIError(METHOD, "Too Many Requests"), "failed", False),
        (network_error(NOT_CONNECTED), "failed", False),
        # nobody knows
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
