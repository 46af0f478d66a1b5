"""Events out of bytes, in whatever pieces they come."""

import pytest

from ai_assistant import sse
from ai_assistant.sse import EventParser, ServerSentEvent

STREAM = (
    "\ufeff: a comment\n\n"
    'data: {"a": 1}\r\n\r\n'
    "event: news\rid: 7\rdata:one\rdata:  two\r\r"
    "retry: 100\n\n"
    "data\n\n"
    "data: da\u2028: \u043f\n\n"
    "data: [DONE]\n\n"
).encode()
EVENTS = [
    ServerSentEvent("message", '{"a": 1}', None),
    ServerSentEvent("news", "one\n two", "7"),
    ServerSentEvent("message", "", None),
    ServerSentEvent("message", "da\u2028: \u043f", None),
    ServerSentEvent("message", "[DONE]", None),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pieces_do_not_matter(size: int) -> None:
    parser = EventParser()
    found = [event for start in range(0, len(STREAM), size) for event in parser.push(STREAM[start : start + size])]
    assert found == EVENTS
    assert parser.finish() is None


@pytest.mark.parametrize("rest", [b"data: last", b"data: last\n", b"data: last\r", b"data: last\r\n"])
def test_the_last_event_may_lack_its_empty_line(rest: bytes) -> None:
    parser = EventParser()
    assert parser.push(rest) == []
    assert parser.finish() == ServerSentEvent("message", "last", None)


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    for endless in (b"data: " + b"x" * 300, b"data: x\n" * 300):
        parser = EventParser()
        pushed = 0
        with pytest.raises(ValueError, match="too long"):  # noqa: PT012 - which push is too much depends on the kind
            while pushed < 10:
                parser.push(endless)
                pushed += 1
    parser = EventParser()
    for _ in range(1000):
        parser.push(b"data: short\n\n: comment\n\n")
