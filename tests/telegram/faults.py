"""What goes wrong with calls: by script, or by chance with a seed."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from telegram.calls import Call, RefusedError, too_many_requests

SERVER_ERRORS = {500: "Internal Server Error", 502: "Bad Gateway", 504: "Gateway Timeout"}


@dataclass(frozen=True)
class Fault:
    """One call that goes wrong. Made by the functions below."""

    error: RefusedError | None = None
    """Answered instead of the result."""
    done: bool = False
    """The call is carried out all the same."""
    delay: float = 0.0
    """Real seconds before the answer."""
    reply: Literal["answer", "never", "close", "garbage"] = "answer"


def flood(seconds: int) -> Fault:
    """429; the chat's RetryAfter window is open from the answer on."""
    return Fault(too_many_requests(seconds))


def server_error(code: int = 502, *, done: bool = False) -> Fault:
    """500, 502 or 504."""
    return Fault(RefusedError(code, SERVER_ERRORS[code]), done)


def refusal(code: int, description: str) -> Fault:
    """For instance `refusal(400, "Bad Request: can't parse entities: ...")`."""
    return Fault(RefusedError(code, description))


def late(seconds: float, *, done: bool = True) -> Fault:
    """Answers so many real seconds later; what was not done gets a 504."""
    return Fault(None if done else RefusedError(504, "Gateway Timeout"), done, seconds)


def no_answer(*, done: bool = True) -> Fault:
    """Takes the call and says nothing until the bot hangs up, `Faults.clear` is called or the server stops."""
    return Fault(None, done, reply="never")


def closed(*, done: bool = True) -> Fault:
    """Closes the connection instead of answering."""
    return Fault(None, done, reply="close")


def garbage(*, done: bool = True) -> Fault:
    """Answers what is no JSON, with the status 200."""
    return Fault(None, done, reply="garbage")


@dataclass
class Chances:
    """How often calls go wrong by chance, each as a share of all calls to chats (or of `methods`); same seed, same row."""

    seed: int
    flood: float = 0.0
    retry_after: Sequence[int] = (1, 2, 3)
    server_error: float = 0.0
    closed: float = 0.0
    garbage: float = 0.0
    late: float = 0.0
    late_seconds: float = 1.0
    done: float = 0.0
    """The share of server errors, closed connections and garbage answers whose call was carried out."""
    methods: Collection[str] | None = None
    drawn: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How many of each there were."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def draw(self, call: Call) -> Fault | None:
        if (call.chat_id is None) if self.methods is None else (call.method not in self.methods):
            return None
        number, done = self._random.random(), self._random.random() < self.done
        for name in ("flood", "server_error", "closed", "garbage", "late"):
            number -= getattr(self, name)
            if number < 0:
                self.drawn[name] += 1
                return self._fault(name, done)
        return None

    def _fault(self, name: str, done: bool) -> Fault:
        if name == "flood":
            return flood(self._random.choice(self.retry_after))
        if name == "server_error":
            return server_error(self._random.choice([*SERVER_ERRORS]), done=done)
        if name == "late":
            return late(self.late_seconds)
        return closed(done=done) if name == "closed" else garbage(done=done)


class Faults:
    """The script: faults for the next calls of a method, to a chat, or of both; then the chances."""

    def __init__(self) -> None:
        self.chances: Chances | None = None
        self.generation = 0
        """Raised by `clear`: whoever waits without an answer hangs up."""
        self._next: dict[tuple[str | None, int | None], deque[Fault]] = defaultdict(deque)
        self._always: dict[tuple[str | None, int | None], Fault] = {}

    def next(self, fault: Fault, method: str | None = None, chat_id: int | None = None, times: int = 1) -> None:
        """The next calls that fit go wrong, in the order of the script; None fits every method or chat."""
        self._next[method, chat_id].extend([fault] * times)

    def always(self, fault: Fault, method: str | None = None, chat_id: int | None = None) -> None:
        """Every call that fits goes wrong until `clear`."""
        self._always[method, chat_id] = fault

    def clear(self) -> None:
        """Nothing goes wrong any more, by script or by chance."""
        self._next.clear()
        self._always.clear()
        self.chances = None
        self.generation += 1

    def of(self, call: Call) -> Fault | None:
        """What goes wrong with this call; taken out of the script."""
        method, chat_id = call.method, call.chat_id
        # a script for every method means what the bot does, and not its polling
        general = method != "getUpdates"
        keys = [(method, chat_id), (method, None), *([(None, chat_id), (None, None)] if general else [])]
        for key in dict.fromkeys(keys):
            if waiting := self._next.get(key):
                return waiting.popleft()
            if (fault := self._always.get(key)) is not None:
                return fault
        return self.chances.draw(call) if self.chances else None
