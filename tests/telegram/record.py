"""What happened: every call with its time and outcome, and what the bot has sent."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from telegram.calls import Call
from telegram.chats import Message

WAIT_SECONDS = 60.0


@dataclass
class CallRecord:
    """One call; times in Telegram's seconds."""

    at: float
    call: Call
    outcome: str = "open"
    """`ok`, the description of a refusal, or `no answer`, `closed` or `garbage`."""
    code: int | None = None
    """The HTTP status of the answer, if there was one."""
    done: bool = False
    """Whether it was carried out, whatever the answer said."""
    answered_at: float | None = None

    @property
    def method(self) -> str:
        return self.call.method

    @property
    def chat_id(self) -> int | None:
        return self.call.chat_id


@dataclass
class Record:
    """Grows at its end only; safe to read from any thread."""

    calls: list[CallRecord] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    """Every message and document of the bot in the order of sending, as it reads now, also those deleted since."""
    actions: list[tuple[float, int, int | None, str]] = field(default_factory=list)
    """Time, chat, thread and kind of each chat action."""
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def of(self, *methods: str, chat_id: int | None = None) -> list[CallRecord]:
        """The calls of these methods (all without names), of one chat if given."""
        return [
            item for item in list(self.calls)
            if (not methods or item.method in methods) and (chat_id is None or item.chat_id == chat_id)
        ]  # fmt: skip

    def outcomes(self, *methods: str) -> Counter[str]:
        """How often calls of these methods (all without names) ended in which way."""
        return Counter(item.outcome for item in self.of(*methods))

    def wait_until(self, true: Callable[[], bool], seconds: float = WAIT_SECONDS, what: object = "") -> None:
        """Until it is true, looked at after answered calls. Raises AssertionError after so many real seconds."""
        deadline = time.monotonic() + seconds
        while not true():
            left = deadline - time.monotonic()
            assert left > 0, f"not within {seconds} s: {what() if callable(what) else what}"
            with self.arrived:
                self.arrived.wait(min(left, 0.1))
            time.sleep(0.01)

    def answered(self) -> None:
        with self.arrived:
            self.arrived.notify_all()
