"""Trouble with Telegram: said clearly and not too often, and how long to wait before the next try."""

import logging
import time
from collections.abc import Callable
from ssl import SSLCertVerificationError

from aiogram.exceptions import (
    ClientDecodeError,
    TelegramAPIError,
    TelegramConflictError,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiohttp import ClientConnectorCertificateError, ClientConnectorDNSError

from ai_assistant.bot.session import proxy_help

logger = logging.getLogger(__name__)

SAY_AGAIN_SECONDS = 30.0
"""The same sentence is not repeated sooner."""

FIRST_PAUSE, LAST_PAUSE = 1.0, 30.0
FIRST_CONFLICT_PAUSE, LAST_CONFLICT_PAUSE = 5.0, 60.0


def sentence_of(error: Exception) -> str:
    """What is wrong and what may help, without secrets."""
    text = error.message if isinstance(error, TelegramAPIError) else str(error)
    cause = error.__cause__
    if isinstance(error, TelegramConflictError):
        if "webhook" in text.lower():
            return "Somebody has set a webhook for this bot, so that nothing can be polled; waiting until it is gone"
        return "Another process polls with this token (AI_ASSISTANT_TELEGRAM_TOKEN); waiting until it stops"
    if isinstance(error, TimeoutError):
        return "Telegram does not answer in time"
    if isinstance(error, TelegramRetryAfter):
        return f"Telegram asks for a pause of {error.retry_after} s"
    if isinstance(error, TelegramServerError):
        return f"Telegram has trouble of its own ({text})"
    if isinstance(error, TelegramNetworkError):
        if isinstance(cause, (ClientConnectorCertificateError, SSLCertVerificationError)):
            return f"The connection to Telegram is not trustworthy ({text}); somebody on the way may be listening"
        if isinstance(cause, ClientConnectorDNSError):
            return f"The name of the Bot API is not found ({text}); is there a network?"
        hint = proxy_help(cause) or "; where it is blocked set AI_ASSISTANT_TELEGRAM_PROXY or AI_ASSISTANT_TELEGRAM_API_URL"
        return f"Telegram cannot be reached ({text}){hint}"
    if isinstance(error, ClientDecodeError):
        return "Telegram answered what is not understood"
    return f"Telegram refuses ({text})"


class Trouble:
    """One per loop that speaks to Telegram."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pause = 0.0
        self._conflict_pause = 0.0
        self._conflict_at = -LAST_CONFLICT_PAUSE
        self._said: tuple[str, float] | None = None
        self.sentence: str | None = None
        """What is wrong now."""

    def pause(self, error: Exception) -> float:
        """Say what is wrong, and return the seconds to wait."""
        self._say(sentence_of(error))
        if isinstance(error, TelegramRetryAfter):
            return float(error.retry_after)
        if isinstance(error, TelegramConflictError):
            # Two pollers put each other off in turns: each success in between is short, and no reason to come back sooner.
            is_new = self._clock() - self._conflict_at > 2 * max(self._conflict_pause, FIRST_CONFLICT_PAUSE) + LAST_PAUSE
            doubled = min(2 * self._conflict_pause, LAST_CONFLICT_PAUSE)
            self._conflict_pause = FIRST_CONFLICT_PAUSE if is_new else max(doubled, FIRST_CONFLICT_PAUSE)
            self._conflict_at = self._clock()
            return self._conflict_pause
        self._pause = min(max(2 * self._pause, FIRST_PAUSE), LAST_PAUSE)
        return self._pause

    def over(self) -> None:
        """A request was answered."""
        if self.sentence is not None:
            logger.info("Telegram answers again")
        self.sentence = None
        self._said = None
        self._pause = 0.0

    def _say(self, sentence: str) -> None:
        self.sentence = sentence
        now = self._clock()
        if self._said is not None and self._said[0] == sentence and now - self._said[1] < SAY_AGAIN_SECONDS:
            return
        self._said = (sentence, now)
        logger.warning("%s", sentence)
