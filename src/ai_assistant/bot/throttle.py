"""Not too many messages at once: a token bucket per person and one per group, one notice per episode, then silence.

Admins and everything that stops an answer always pass.
"""

import contextlib
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiogram import BaseMiddleware
from aiogram.exceptions import TelegramAPIError
from aiogram.types import CallbackQuery, Message, TelegramObject, Update

from ai_assistant.bot.command_names import command_name
from ai_assistant.bot.profiles import Profiles, code_of, owner_of
from ai_assistant.bot.texts import say

MAX_BUCKETS = 50_000


@dataclass(slots=True)
class Bucket:
    """What somebody may still send."""

    tokens: float
    at: float
    """When the tokens were counted."""
    is_told: bool = False


class Throttle:
    """Buckets of one size. One that is full again is as good as none, so it is dropped: memory is bounded by those who have
    written lately."""

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float]) -> None:
        self._rate = per_minute / 60
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[int, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, subject: int) -> float:
        """0 for a message that may pass, else the seconds until the next one may."""
        now = self._clock()
        self._drop_idle(now)
        bucket = self._buckets.setdefault(subject, Bucket(self._burst, now))
        self._buckets.move_to_end(subject)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.tokens >= self._burst / 2:
            bucket.is_told = False  # a new episode
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0
        return (1 - bucket.tokens) / self._rate

    def is_first_refusal(self, subject: int) -> bool:
        """Whether nobody has been told yet; now they are."""
        bucket = self._buckets.get(subject)
        if bucket is None or bucket.is_told:
            return False
        bucket.is_told = True
        return True

    def forget(self, subject: int) -> None:
        self._buckets.pop(subject, None)

    def _drop_idle(self, now: float) -> None:
        while self._buckets:
            subject, bucket = next(iter(self._buckets.items()))
            if now - bucket.at < self._burst / self._rate and len(self._buckets) < MAX_BUCKETS:
                return
            del self._buckets[subject]


class ThrottleMiddleware(BaseMiddleware):
    """Counts messages, edits and presses of buttons."""

    def __init__(self, people: Throttle, groups: Throttle, profiles: Profiles) -> None:
        self._people = people
        self._groups = groups
        self._profiles = profiles

    async def __call__(
        self, handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]], event: TelegramObject, data: dict[str, Any]
    ) -> Any:
        if not isinstance(event, Update):
            raise TypeError("ThrottleMiddleware belongs to updates.")
        counted = event.message or event.edited_message or event.callback_query
        if counted is None or data.get("is_admin") or always_passes(counted):
            return await handler(event, data)
        chat, user = data.get("event_chat"), data.get("event_from_user")
        buckets = [(self._people, user.id)] if user is not None else []
        if chat is not None and chat.type != "private":
            buckets.append((self._groups, chat.id))
        for throttle, subject in buckets:
            if (seconds := throttle.take(subject)) > 0:
                data["outcome"] = "throttled"
                with contextlib.suppress(TelegramAPIError):  # Telegram throttles us too
                    if throttle.is_first_refusal(subject):
                        language = self._profiles.language(owner_of(chat, user), code_of(user))
                        await counted.answer(say("throttled", language, seconds=math.ceil(seconds)))
                    elif isinstance(counted, CallbackQuery):
                        await counted.answer()
                return None
        return await handler(event, data)


def always_passes(event: Message | CallbackQuery) -> bool:
    """Everything that stops an answer has a name that begins so. (And Telegram says only once that a group has moved.)"""
    if isinstance(event, CallbackQuery):
        return (event.data or "").startswith("stop")
    return command_name(event) == "stop" or event.migrate_to_chat_id is not None
