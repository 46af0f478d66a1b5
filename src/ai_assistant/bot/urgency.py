"""How urgent a request to Telegram is. Whoever makes it says so by `with urgency(...)`; the rest are replies."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from enum import IntEnum


class Urgency(IntEnum):
    """The lower goes first."""

    FINAL = 0
    """An answer. Nobody sleeps on it: what cannot go now is put back into the gateway's ledger."""
    REPLY = 1
    """To a command or a button."""
    EDIT = 2
    """Of something that is there already, such as a settings menu."""
    BROADCAST = 3
    """To everybody; leaves room for all of the above."""
    PREVIEW = 4
    """Of an answer that is being written. Skipped where there is no room, never repeated."""


current: ContextVar[Urgency] = ContextVar("urgency", default=Urgency.REPLY)


@contextlib.contextmanager
def urgency(level: Urgency) -> Iterator[None]:
    """For the requests inside, and for those of tasks that are created inside."""
    token = current.set(level)
    try:
        yield
    finally:
        current.reset(token)
