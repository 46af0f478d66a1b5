"""Flood control: RetryAfter windows and who breaks them, and, if a test wants them, limits like Telegram's own."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass, field

from telegram.calls import Call, too_many_requests
from telegram.clock import Clock

COUNTED = {"sendMessage", "sendDocument", "editMessageText"}
"""What Telegram's limits are about; drafts, typing and buttons are free."""


@dataclass(frozen=True)
class Violation:
    """A call to a chat while its RetryAfter window was open."""

    at: float
    chat_id: int | None
    method: str
    seconds_left: float


@dataclass
class Window:
    opened: float
    until: float
    refused: set[str] = field(default_factory=set)
    """Fingerprints of the calls that were refused."""


class Bucket:
    """A token bucket: `rate` per second, `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst, self.tokens, self.at = rate, burst, burst, 0.0

    def wait(self, now: float) -> float:
        """Seconds until there is a token."""
        self.tokens, self.at = min(self.burst, self.tokens + (now - self.at) * self.rate), now
        return max(0.0, (1 - self.tokens) / self.rate)


@dataclass
class Limits:
    """Telegram's limits, as far as they are known; Telegram's seconds."""

    per_second: float = 30
    chat_per_second: float = 1
    chat_burst: float = 3
    group_per_minute: int = 20

    def __post_init__(self) -> None:
        self._all = Bucket(self.per_second, self.per_second)
        self._chats: dict[int, Bucket] = defaultdict(lambda: Bucket(self.chat_per_second, self.chat_burst))
        self._groups: dict[int, deque[float]] = defaultdict(deque)

    def wait(self, chat_id: int, now: float) -> float:
        """Seconds until a message to this chat is allowed; 0 takes it."""
        chat, group = self._chats[chat_id], self._groups[chat_id]
        wait = max(self._all.wait(now), chat.wait(now))
        if chat_id < 0:
            while group and group[0] <= now - 60:
                group.popleft()
            if len(group) >= self.group_per_minute:
                wait = max(wait, group[0] + 60 - now)
        if not wait:
            self._all.tokens -= 1
            chat.tokens -= 1
            group.append(now)
        return wait


class Flood:
    """Which chats must not be called, and who calls them all the same."""

    def __init__(self, clock: Clock) -> None:
        self.limits: Limits | None = None
        self.violations: list[Violation] = []
        """Empty after a run: no call went to a chat inside its RetryAfter window."""
        self.grace = 0.25
        """Real seconds for calls that were on their way when the window opened; repetitions of a refused call have none."""
        self._windows: dict[int | str, Window] = {}
        self._clock = clock

    def open(self, call: Call, seconds: float) -> None:
        """A 429 was announced for this call's chat."""
        now = self._clock.now()
        key = call.method if call.chat_id is None else call.chat_id
        window = self._windows.get(key)
        if window is None or window.until <= now:
            window = self._windows[key] = Window(now, now + seconds)
        window.until = max(window.until, now + seconds)
        window.refused.add(call.fingerprint())

    def seconds_left(self, chat_id: int) -> float:
        """How long the window of a chat is still open; 0 where it is not."""
        window = self._windows.get(chat_id)
        return max(0.0, window.until - self._clock.now()) if window else 0.0

    def forget(self) -> None:
        """Close every window."""
        self._windows.clear()

    def check(self, call: Call) -> None:
        """Raises RefusedError with what is left of an open window, and writes the call down as a violation."""
        window = self._windows.get(call.method if call.chat_id is None else call.chat_id)
        now = self._clock.now()
        if window is None or window.until <= now:
            return
        left = window.until - now
        if self._clock.real(now - window.opened) > self.grace or call.fingerprint() in window.refused:
            self.violations.append(Violation(now, call.chat_id, call.method, left))
        raise too_many_requests(math.ceil(left))

    def count(self, call: Call) -> None:
        """Raises RefusedError where the natural limits, if they are on, are used up."""
        if self.limits is None or call.chat_id is None or call.method not in COUNTED:
            return
        if wait := self.limits.wait(call.chat_id, self._clock.now()):
            raise too_many_requests(math.ceil(wait))
