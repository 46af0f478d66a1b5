"""A formatted text in messages: cut where a reader would, closed and reopened where it must be cut inside of something."""

import re
import unicodedata
from bisect import bisect_left, bisect_right

from wcwidth import iter_graphemes

from ai_assistant.bot.formatting.parts import PART_UNITS, TextPart
from ai_assistant.bot.formatting.spans import Formatted, Span, as_part, excerpt, order, unit_offsets

MAX_ENTITIES = 100
"""Telegram shows the first hundred of a message and forgets the others."""

MAX_ENTITY_BYTES = 8_000
"""Telegram refuses a message ("ENTITIES_TOO_LONG") whose entities take more than about 9,500 bytes: many long links do."""

_ENTITY_BYTES = 40
_FEW = 4
"""A part is never made shorter than a fourth of a message because of its formatting: the rest of it is dropped instead."""

_IMPORTANCE = {"pre": 0, "blockquote": 1, "text_link": 2, "spoiler": 3, "code": 4, "bold": 5, "strikethrough": 6, "italic": 7}
_SENTENCE = re.compile(r"[.!?…。！？][)\]\"'»”’]*\s")
_INVISIBLE = {"Zs", "Zl", "Zp", "Cc", "Cf", "Mn"}
_INVISIBLE_LETTERS = {"\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"}


def split(formatted: Formatted, limit: int = PART_UNITS) -> list[TextPart]:
    """The text in messages of at most `limit` UTF-16 units, each with as many entities as Telegram takes."""
    text = formatted.text
    spans = sorted(formatted.spans, key=order)
    offsets = unit_offsets(text)
    starts = [span.start for span in spans]
    parts = []
    start, first = 0, 0
    open_spans: list[Span] = []
    while start < len(text):
        end = _furthest(offsets, len(text), start, limit)
        near = [*open_spans, *spans[first : bisect_left(starts, end)]]
        end = _before_too_many(near, start, end)
        if end < len(text):
            end = _cut(text, [span for span in near if span.kind == "pre"], start, end)
        last = bisect_left(starts, end)
        here = [*open_spans, *spans[first:last]]
        piece = excerpt(formatted, start, end, here)
        if is_visible(piece.text):
            parts.append(one_message(piece))
        open_spans = [span for span in here if span.end > end]
        start, first = end, last
    return parts


def one_message(formatted: Formatted) -> TextPart:
    """A text that is short enough, with as many entities as Telegram takes."""
    return as_part(Formatted(formatted.text, _affordable(formatted.spans)))


def is_visible(text: str) -> bool:
    """Whether Telegram would not call the message empty."""
    return any(unicodedata.category(letter) not in _INVISIBLE and letter not in _INVISIBLE_LETTERS for letter in text)


def _furthest(offsets: list[int] | None, length: int, start: int, limit: int) -> int:
    if offsets is None:
        return min(start + limit, length)
    return bisect_right(offsets, offsets[start] + limit) - 1


def _before_too_many(spans: list[Span], start: int, end: int) -> int:
    """Where the entities of a part become too many, unless it would be a short one then."""
    size = 0
    for count, span in enumerate(spans):
        if span.start >= end:
            break
        size += _weight(span)
        if count >= MAX_ENTITIES or size > MAX_ENTITY_BYTES:
            return span.start if span.start - start >= (end - start) // _FEW else end
    return end


def _affordable(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """All of them, or the most important ones."""
    if len(spans) <= MAX_ENTITIES and sum(map(_weight, spans)) <= MAX_ENTITY_BYTES:
        return spans
    kept: list[Span] = []
    size = 0
    for span in sorted(spans, key=lambda span: (_IMPORTANCE[span.kind], span.start)):
        size += _weight(span)
        if size > MAX_ENTITY_BYTES:
            size -= _weight(span)
        elif len(kept) < MAX_ENTITIES:
            kept.append(span)
    return tuple(sorted(kept, key=order))


def _weight(span: Span) -> int:
    return _ENTITY_BYTES + len(span.value)


def _cut(text: str, code: list[Span], start: int, end: int) -> int:
    """The best place for a cut in the second half of `start` to `end`."""
    half, third = (start + end) // 2, start + (end - start) // 3
    inside = next((span for span in code if span.start < end < span.end), None)
    if inside and inside.start > third:
        return inside.start
    if inside:
        return _cut_in_code(text, max(half, inside.start), end)
    starts = [span.start for span in code]
    at = text.rfind("\n\n", half, end)
    while at > 0:
        index = bisect_left(starts, at) - 1
        if index < 0 or code[index].end <= at:
            return at + 2
        at = text.rfind("\n\n", half, at)
    if (at := text.rfind("\n", half, end)) > 0:
        return at + 1
    sentences = [match.end() for match in _SENTENCE.finditer(text, half, end)]
    if sentences:
        return sentences[-1]
    if (at := max(text.rfind(space, third, end) for space in "\n \t")) > 0:
        return at + 1
    return _between_graphemes(text, max(start, end - 64), end)


def _cut_in_code(text: str, start: int, end: int) -> int:
    """Before the line that is indented least: it rather begins something."""
    best: tuple[int, int] | None = None
    at = text.find("\n", start, end)
    while at >= 0:
        after = at + 1
        indent = len(text[after : after + 80]) - len(text[after : after + 80].lstrip(" \t"))
        if text[after : after + 1] not in ("\n", "}", ")", "]") and (best is None or indent <= best[0]):
            best = indent, after
        at = text.find("\n", after, end)
    if best:
        return best[1]
    if (at := max(text.rfind(space, start, end) for space in "\n ")) > 0:
        return at + 1
    return _between_graphemes(text, max(start, end - 64), end)


def _between_graphemes(text: str, start: int, end: int) -> int:
    """The last boundary of what readers take for one character, but not before `start`."""
    at = boundary = start
    for grapheme in iter_graphemes(text[start : end + 64]):
        if at > end:
            break
        boundary = at
        at += len(grapheme)
    return boundary if boundary > start else end
