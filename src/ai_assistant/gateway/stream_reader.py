"""What one reader of a task's text has, and what it has to be told next. Pure: no I/O, no clock.

Text comes from three places that may disagree for a moment: entries of the Redis Stream, which may be repeated, lost or come
from a worker that was declared lost; checkpoints in the row; and the final text, which is the truth. The reader keeps two
texts: what its client has, and what is known of the answer. `take` tells the difference, so a batch that goes back and forth,
a repetition and a client that reads slowly all end in the fewest events: each code point once and in order, unless it changed.
"""

from collections.abc import Iterable

from ai_assistant.contracts import StreamEntry
from ai_assistant.gateway.stream_events import ResetEvent, TokenEvent
from ai_assistant.streams import Entry

UNKNOWN = "\ud800"
"""Stands for a code point that the client has from an earlier connection and we have not seen; no text in UTF-8 has it."""

VOID = "\ud801"
"""Stands for one that the client has and that may have changed since: it must be told again."""

MAX_OFFSET = 4_000_000
"""No answer is that long: a client that claims to have more starts again."""


class StreamReader:
    """One client's position in the text of one task."""

    def __init__(self, offset: int = 0, attempt: int = 0) -> None:
        self._client = UNKNOWN * offset if offset <= MAX_OFFSET else VOID
        self._text = self._client if offset <= MAX_OFFSET else ""
        self._attempt = attempt
        self._passed_over = False
        self._changed_at: int | None = None
        self.gap = False
        """Text is missing before an entry that was seen: the stream should be read again from its start."""
        self.ended = False
        """An END entry was seen: the row should be looked at."""

    @property
    def position(self) -> int:
        """Code points of the answer that are known."""
        return len(self._text)

    @property
    def text(self) -> str:
        return self._text

    def raise_attempt(self, attempt: int) -> None:
        """Entries of lower attempts are to be dropped from now on."""
        self._attempt = max(self._attempt, attempt)

    def feed(self, entries: Iterable[Entry]) -> None:
        """Entries that follow the last ones in the stream."""
        for entry in entries:
            if entry.attempt < self._attempt:
                self._passed_over = True
                continue
            if self._passed_over:
                # the successor goes on from what was written before its fence: read that again in its place
                self._passed_over, self.gap = False, True
            self._attempt = entry.attempt
            if entry.kind is StreamEntry.TOKEN:
                self._overlay(entry.offset, entry.text)
            elif entry.kind is StreamEntry.RESET:
                self.gap = self.gap or entry.offset > len(self._text)
                if entry.offset < len(self._text):
                    self._note_change(entry.offset)
                    self._text = self._text[: entry.offset]
            elif entry.kind is StreamEntry.END:
                self.ended = True

    def feed_all(self, entries: Iterable[Entry]) -> None:
        """All entries of the stream from its start: what counts is the text that they add up to."""
        stream = StreamReader()
        stream.feed(entries)
        self.gap, self._passed_over = False, False
        if stream._attempt < self._attempt:
            # Either the successor has not fenced yet, or Redis was emptied and a worker that was declared lost publishes again.
            self._passed_over = stream._attempt > 0
            return
        self._attempt = stream._attempt
        self.ended = self.ended or stream.ended
        if stream.gap:
            self.gap = True
            # What is before the gap may be older than what we have: it may only add.
            if not fill(self._text, stream._text).startswith(stream._text[: len(self._text)]):
                return
        if stream._changed_at is not None and UNKNOWN in self._client[stream._changed_at :]:
            # the client may have left before that change or after it
            kept = stream._changed_at
            self._client = self._client[:kept] + self._client[kept:].replace(UNKNOWN, VOID)
            self._text = self._text[:kept]
        self._overlay(0, stream._text)

    def checkpoint(self, text: str, attempt: int) -> None:
        """What the row has; it is behind the stream, unless the stream was lost."""
        if attempt < self._attempt:
            return
        self._attempt = attempt
        if len(text) > len(self._text):
            self._overlay(0, text)

    def finish(self, text: str) -> None:
        """The final text, whatever was seen before."""
        if UNKNOWN in self._client:
            self._client = fill(self._client, text) if len(text) >= len(self._client) else VOID
        self._text = text

    def take(self) -> list[TokenEvent | ResetEvent]:
        """What the client has to be told to have the known text; it counts as told."""
        client, text = self._client, self._text
        events: list[TokenEvent | ResetEvent] = []
        start = len(client)
        if not text.startswith(client):
            start = common_prefix(client, text)
            events.append(ResetEvent(start))
        if start < len(text):
            events.append(TokenEvent(start, text[start:]))
        self._client = text
        return events

    def _overlay(self, offset: int, piece: str) -> None:
        """Merge text that belongs at `offset`: equal parts are dropped, a different one replaces all that followed."""
        if offset > len(self._text):
            self.gap = True
            return
        have = self._text[offset : offset + len(piece)]
        if UNKNOWN in have:
            # the client has read it: from the same answer, as far as anybody can tell
            before, after = self._text[:offset], self._text[offset + len(have) :]
            learned = UNKNOWN * offset + "".join(
                new if old == UNKNOWN else UNKNOWN for old, new in zip(have, piece, strict=False)
            )
            self._client = fill(self._client, learned)
            have = fill(have, piece)
            self._text = before + have + after
        if not piece.startswith(have):
            same = common_prefix(have, piece)
            self._note_change(offset + same)
            self._text = self._text[: offset + same] + piece[same:]
        elif len(piece) > len(have):
            self._text += piece[len(have) :]

    def _note_change(self, offset: int) -> None:
        self._changed_at = offset if self._changed_at is None else min(offset, self._changed_at)


def fill(have: str, known: str) -> str:
    """Put what is `known` in place of UNKNOWN; beyond the end of `known`, `have` stays."""
    if UNKNOWN not in have:
        return have
    length = min(len(have), len(known))
    return "".join(new if old == UNKNOWN else old for old, new in zip(have, known, strict=False)) + have[length:]


def common_prefix(one: str, other: str) -> int:
    """Length of the common beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
