"""Codes by which people are let in: a stranger gets one for an admin to approve, or an admin makes one for a stranger to send.

Kept in memory, for an hour: whoever comes back after a restart of the bot gets a new one.
"""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from ai_assistant.bot.fingerprints import ALPHABET, CODE_LENGTH

CODE_SECONDS = 3600.0
MAX_CODES = 1000
"""The oldest one goes first: strangers cannot fill the memory."""

MAX_WRONG_TRIES = 5
"""Per person in an hour; what comes after that is not even looked at."""

T = TypeVar("T")


class Codes(Generic[T]):
    """Codes that stand for a value, each good once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._codes: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def issue(self, value: T) -> str:
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        self._drop_old()
        while len(self._codes) >= MAX_CODES:
            self._codes.popitem(last=False)
        self._codes[code] = (self._clock() + CODE_SECONDS, value)
        return code

    def find(self, given: str) -> tuple[str, T] | None:
        """The code and what it stands for; None for a wrong or old one. Takes as long for every wrong code."""
        self._drop_old()
        found = None
        for code, (_, value) in self._codes.items():
            if matches(given, code):
                found = code, value
        return found

    def code_of(self, is_meant: Callable[[T], bool]) -> str | None:
        """The code that stands for the value, if there is one."""
        self._drop_old()
        return next((code for code, (_, value) in self._codes.items() if is_meant(value)), None)

    def use_up(self, code: str) -> None:
        self._codes.pop(code, None)

    def give_back(self, code: str, value: T) -> None:
        """A code that was used up for nothing is good again, for an hour."""
        self._codes[code] = (self._clock() + CODE_SECONDS, value)

    def drop(self, is_dropped: Callable[[T], bool]) -> None:
        for code in [code for code, (_, value) in self._codes.items() if is_dropped(value)]:
            del self._codes[code]

    def _drop_old(self) -> None:
        now = self._clock()
        while self._codes:
            code, (until, _) = next(iter(self._codes.items()))
            if until > now:
                return
            del self._codes[code]


class Occasions:
    """How often something has happened to somebody within the last hour (or `seconds`); forgets by itself."""

    def __init__(self, clock: Callable[[], float], seconds: float = 3600.0, capacity: int = 10_000) -> None:
        self._clock = clock
        self._seconds = seconds
        self._capacity = capacity
        self._counts: OrderedDict[int, tuple[float, int]] = OrderedDict()

    def count(self, subject: int) -> int:
        until, count = self._counts.get(subject, (0.0, 0))
        return count if until > self._clock() else 0

    def note(self, subject: int) -> None:
        """One more; the time runs from the first."""
        count = self.count(subject)
        until = self._counts.pop(subject)[0] if count else self._clock() + self._seconds
        self._counts[subject] = (until, count + 1)
        while len(self._counts) > self._capacity:
            self._counts.popitem(last=False)

    def is_first(self, subject: int) -> bool:
        """Whether it has not happened yet; now it has."""
        if self.count(subject):
            return False
        self.note(subject)
        return True

    def forget(self, subject: int) -> None:
        self._counts.pop(subject, None)


def normalized(given: str) -> str:
    """A code as people type it, in the form that we compare."""
    return given.strip().replace("-", "").replace(" ", "").upper()


def is_code(given: str) -> bool:
    code = normalized(given)
    return len(code) == CODE_LENGTH and set(code) <= set(ALPHABET)


def matches(given: str, code: str) -> bool:
    """Takes as long wherever they differ."""
    return hmac.compare_digest(normalized(given).encode(), code.encode())
