"""Server-sent events out of bytes. Pure. (Not by a library's lines: those also break at U+2028 inside a model's text.)"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSentEvent:
    name: str
    data: str
    id: str | None
    """Of this event only; the reader remembers the last one."""


def parse_events(chunks: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """Whole events only: what a cut connection left unfinished is dropped, and told again after resuming."""
    name, identity = "message", None
    data: list[str] = []
    for line in _lines(chunks):
        if not line:
            if data:
                yield ServerSentEvent(name, "\n".join(data), identity)
            name, identity, data = "message", None, []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id":
            identity = value


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
