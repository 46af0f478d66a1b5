"""Formatting as ranges of a Python string, and what Telegram allows of it."""

import sys
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate

from telegramify_markdown.entity import utf16_len

from ai_assistant.bot.formatting.parts import Entity, TextPart

STYLES = {"bold", "italic", "strikethrough", "spoiler"}
MONOSPACE = {"code", "pre"}
_RANKS = {"blockquote": 0, "text_link": 1, "bold": 2, "italic": 2, "strikethrough": 2, "spoiler": 2, "code": 3, "pre": 3}


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a text are formatted; `value` is a link's address or a block's language."""

    kind: str
    start: int
    end: int
    value: str = ""


@dataclass(frozen=True, slots=True)
class Formatted:
    """A text of any length with its formatting."""

    text: str
    spans: tuple[Span, ...] = ()


def settled(formatted: Formatted) -> Formatted:
    """The same without what Telegram forbids: styles over monospace, empty ranges, white space at the ends of a range."""
    text = formatted.text
    links = sorted((span.start, span.end) for span in formatted.spans if span.kind == "text_link")
    mono = sorted((s for s in formatted.spans if s.kind in MONOSPACE and not _is_inside(s, links)), key=lambda span: span.start)
    starts = [span.start for span in mono]
    result = []
    for span in formatted.spans:
        if span.kind in STYLES:
            result += _around(span, mono, starts)
        elif span.kind not in MONOSPACE:
            result.append(span)
    trimmed = (_trimmed(text, span) for span in result + mono)
    return Formatted(text, tuple(sorted((span for span in trimmed if span.end > span.start), key=order)))


def order(span: Span) -> tuple[int, int, int]:
    """Outer ranges before inner ones."""
    return span.start, -span.end, _RANKS[span.kind]


def excerpt(formatted: Formatted, start: int, end: int, spans: Iterable[Span]) -> Formatted:
    """Characters `start` to `end` without white space around them; of `spans`, what lies there."""
    text = formatted.text
    # Telegram trims white space, but not what an entity begins with: the indentation of code stays.
    code = next((span for span in spans if span.kind == "pre" and span.start <= start < span.end), None)
    while start < end and text[start].isspace():
        start += 1
    if code:
        start = max(text.rfind("\n", 0, start) + 1, code.start)
    while end > start and text[end - 1].isspace():
        end -= 1
    inside = []
    for span in spans:
        if span.start < end and span.end > start:
            moved = replace(span, start=max(span.start, start) - start, end=min(span.end, end) - start)
            inside.append(_trimmed(text[start:end], moved))
    return Formatted(text[start:end], tuple(span for span in inside if span.end > span.start))


def as_part(formatted: Formatted) -> TextPart:
    """One message; the caller has made it short enough."""
    offsets = unit_offsets(formatted.text)
    entities = []
    for span in sorted(formatted.spans, key=order):
        start, end = (span.start, span.end) if offsets is None else (offsets[span.start], offsets[span.end])
        entity: Entity = {"type": span.kind, "offset": start, "length": end - start}
        if span.value:
            entity["url" if span.kind == "text_link" else "language"] = span.value
        entities.append(entity)
    return TextPart(formatted.text, tuple(entities))


def unit_offsets(text: str) -> list[int] | None:
    """How many UTF-16 units come before every character (and the end); None where it is as many as characters."""
    if utf16_len(text) == len(text):
        return None
    return list(accumulate((2 if character > "\uffff" else 1 for character in text), initial=0))


def _is_inside(span: Span, ranges: list[tuple[int, int]]) -> bool:
    found = bisect_right(ranges, (span.start, sys.maxsize)) - 1
    return found >= 0 and ranges[found][1] >= span.end


def _around(span: Span, mono: list[Span], starts: list[int]) -> list[Span]:
    """The pieces of a style between monospace."""
    pieces, start = [], span.start
    for index in range(bisect_right(starts, span.start - 1), len(mono)):
        if mono[index].start >= span.end:
            break
        pieces.append(replace(span, start=start, end=mono[index].start))
        start = mono[index].end
    pieces.append(replace(span, start=start, end=max(span.end, start)))
    return pieces


def _trimmed(text: str, span: Span) -> Span:
    """Without white space at its ends, but code keeps the indentation of its first line."""
    start, end = span.start, span.end
    while start < end and text[start].isspace() and (span.kind != "pre" or text[start] == "\n"):
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return span if (start, end) == (span.start, span.end) else replace(span, start=start, end=end)
