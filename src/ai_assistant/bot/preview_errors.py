"""What an error of a preview's means for the ones after it. Nothing that goes wrong here may reach the answer itself."""

from dataclasses import dataclass
from enum import Enum, auto

from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNotFound,
    TelegramRetryAfter,
)

from ai_assistant.bot.pacing import PreviewSkipped
from ai_assistant.bot.send_errors import GONE, Obstacle, obstacle_of


class LostMessageError(Exception):
    """A first message may have arrived, but not the word that it did: a second one would stand beside it for ever."""


class Outcome(Enum):
    SHOWN = auto()
    SKIPPED = auto()
    """There was no room; the next one may fit."""
    HELD = auto()
    """Flood control: nothing for so many seconds."""
    PLAIN = auto()
    """Telegram does not take the entities."""
    UNSUPPORTED = auto()
    """Not with drafts, in this chat or by this Bot API server."""
    OVER = auto()
    """Nothing can be shown any more."""
    LATER = auto()
    """Whatever it was, it may pass."""


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    seconds: float = 0.0
    """HELD: for so long."""


NO_DRAFTS = ("textdraft_peer_invalid", "unsupported", "not supported", "unknown method", "method not found", "can be used only")
"""In refusals of drafts as such."""

OUTCOMES = {
    Obstacle.UNCHANGED: Outcome.SHOWN,
    Obstacle.NOT_EDITABLE: Outcome.OVER,
    Obstacle.NO_THREAD: Outcome.OVER,
    Obstacle.ENTITIES: Outcome.PLAIN,
}


def verdict_of(error: Exception, *, is_draft: bool) -> Verdict:
    """Of what a call for a preview raised."""
    if isinstance(error, PreviewSkipped):
        return Verdict(Outcome.SKIPPED)
    if isinstance(error, TelegramRetryAfter):
        return Verdict(Outcome.HELD, error.retry_after)
    if isinstance(error, TelegramForbiddenError | TelegramMigrateToChat | LostMessageError):
        return Verdict(Outcome.OVER)
    if is_draft and isinstance(error, TelegramNotFound):
        return Verdict(Outcome.UNSUPPORTED)
    if not isinstance(error, TelegramBadRequest):
        return Verdict(Outcome.LATER)
    sentence = error.message.lower()
    if is_draft and any(words in sentence for words in NO_DRAFTS):
        return Verdict(Outcome.UNSUPPORTED)
    if any(words in sentence for words in GONE):
        return Verdict(Outcome.OVER)
    obstacle = obstacle_of(error)
    return Verdict(OUTCOMES.get(obstacle, Outcome.LATER) if obstacle is not None else Outcome.LATER)
