"""Server-sent events out of bytes. Pure. (Lines end at LF, CR or CRLF only; a text may hold other separators.)"""

from ai_assistant_operator.demand import UnreadableError

MAX_EVENT_BYTES = 32_000_000
"""No event of a gateway is that long: what sends more is something else."""


class EventParser:
    """Takes bytes as they come, gives (name, data) of each event that is complete; comments, ids and the rest are dropped."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        """Of a line that has no end yet."""
        self._size = 0
        self._name = "message"
        self._data: list[str] = []

    def push(self, chunk: bytes) -> list[tuple[str, str]]:
        """Raises UnreadableError for an event of more than MAX_EVENT_BYTES."""
        self._parts.append(chunk)
        self._size += len(chunk)
        if self._size > MAX_EVENT_BYTES:
            raise UnreadableError(f"an event is longer than {MAX_EVENT_BYTES // 1_000_000} MB")
        if b"\n" not in chunk and b"\r" not in chunk:
            return []
        text = b"".join(self._parts)
        held = b"\r" if text.endswith(b"\r") else b""  # perhaps half of a CRLF
        *lines, rest = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._parts = [rest + held]
        events = [event for line in lines if (event := self._take(line.decode("utf-8", "replace"))) is not None]
        if events or not self._data:
            self._size = len(rest)
        return events

    def _take(self, line: str) -> tuple[str, str] | None:
        if not line:
            event = (self._name, "\n".join(self._data)) if self._data else None
            self._name, self._data = "message", []
            return event
        key, _, value = line.removeprefix("\ufeff").partition(":")
        value = value.removeprefix(" ")
        if key == "data":
            self._data.append(value)
        elif key == "event":
            self._name = value
        return None
