"""Server-sent events out of bytes. Pure. (Not by a library's lines: those also break at U+2028 inside a model's text.)"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_EVENT_BYTES = 16_000_000
"""No event of ours or of a model server is that long: what sends more sends something else."""


@dataclass(frozen=True)
class ServerSentEvent:
    name: str
    data: str
    id: str | None
    """Of this event only; the reader remembers the last one."""


class EventParser:
    """Takes bytes as they come, gives events as they are complete. Lines may end with LF, CRLF or CR; comments are dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_first = True
        self._begin()

    @property
    def is_used(self) -> bool:
        """A line has been read, or begun."""
        return bool(self._rest) or not self._is_first

    def push(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that `chunk` completes. Raises ValueError for one of more than MAX_EVENT_BYTES."""
        text = self._rest + chunk
        # a CR at the end may be half of a CRLF
        held = b"\r" if text.endswith(b"\r") else b""
        *lines, rest = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = rest + held
        events = [event for line in lines if (event := self._take(line)) is not None]
        if len(self._rest) + sum(map(len, self._data)) > MAX_EVENT_BYTES:
            raise ValueError("an event is too long")
        return events

    def finish(self) -> ServerSentEvent | None:
        """The last event of a stream that ended without the empty line after it: whole, or cut at any place."""
        line, self._rest = self._rest.rstrip(b"\r"), b""
        return self._take(line) or self._take(b"")

    def _begin(self) -> None:
        self._name = "message"
        self._id: str | None = None
        self._data: list[str] = []

    def _take(self, raw: bytes) -> ServerSentEvent | None:
        line = raw.decode("utf-8", "replace")
        if self._is_first:
            line, self._is_first = line.removeprefix("\ufeff"), False
        if not line:
            event = ServerSentEvent(self._name, "\n".join(self._data), self._id) if self._data else None
            self._begin()
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id":
            self._id = value
        return None


def parse_events(chunks: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """Whole events only: what a cut connection left unfinished is dropped, and told again after resuming."""
    parser = EventParser()
    for chunk in chunks:
        yield from parser.push(chunk)
