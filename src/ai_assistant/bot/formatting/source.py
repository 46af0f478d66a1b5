"""A model's Markdown, cleaned and parsed into events.

The parser, and the conversion of formulas, are those of telegramify-markdown. Its converter is not used: it drops HTML, nests
quotes and puts code into bold, which Telegram refuses or forgets, changes LaTeX inside code, and aligns tables by
characters instead of by their width.
"""

import re
from typing import Any

import pyromark
from telegramify_markdown.converter import STANDARD_OPTIONS

from ai_assistant.bot.formatting.formulas import with_dollars

Event = tuple[Any, Any]
"""What the parser saw (a name, or a dict of one name and its content) and its range in the UTF-8 bytes of the source."""

_CONTROLS: dict[int, str] = dict.fromkeys([*range(9), *range(11, 32), 0x7F], " ")
# Telegram removes these itself, and with them the places of entities would move.
_CONTROLS |= {**dict.fromkeys(range(0x202A, 0x202F), ""), 0x2028: "\n", 0x2029: "\n"}
_SURROGATES = re.compile("[\ud800-\udfff]")
_SPOILER = re.compile(r"\|\|")
_BLOCKS = ("Paragraph", "Item", "TableCell")


def cleaned(text: str) -> str:
    """The text with one kind of line break and without control characters and halves of surrogate pairs."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)
    return _SURROGATES.sub("\ufffd", text)


def parsed(markdown: str) -> tuple[bytes, list[Event]]:
    """The events of a cleaned text, and the bytes to which their ranges refer."""
    if r"\(" in markdown or r"\[" in markdown:
        markdown = _outside_code(markdown)
    return markdown.encode(), list(pyromark.events_with_range(markdown, options=STANDARD_OPTIONS))


def _outside_code(markdown: str) -> str:
    source = markdown.encode()
    pieces, end = [], 0
    for event, place in pyromark.events_with_range(markdown, options=STANDARD_OPTIONS):
        if not isinstance(event, dict):
            continue
        start = event.get("Start")
        if "Code" in event or (isinstance(start, dict) and "CodeBlock" in start):
            pieces += [with_dollars(source[end : place["start"]].decode()), source[place["start"] : place["end"]].decode()]
            end = place["end"]
    return "".join([*pieces, with_dollars(source[end:].decode())])


def spoilers(events: list[Event]) -> dict[int, list[int]]:
    """Where texts have the `||` that begin and end a spoiler: positions by the index of the event, in pairs."""
    marks: dict[int, list[int]] = {}
    opened: tuple[int, int, int] | None = None
    depth = 0
    in_code = False
    for index, (event, _) in enumerate(events):
        if not isinstance(event, dict):
            continue
        if "Start" in event:
            depth += 1
            in_code = in_code or (isinstance(event["Start"], dict) and "CodeBlock" in event["Start"])
            if event["Start"] in _BLOCKS:
                opened = None
        elif "End" in event:
            depth -= 1
            in_code = in_code and event["End"] != "CodeBlock"
            if opened and depth < opened[2]:
                opened = None
        elif "Text" in event and not in_code:
            text = event["Text"]
            for match in _SPOILER.finditer(text):
                start, end = match.span()
                if opened and opened[2] == depth and not text[start - 1 : start].isspace():
                    marks.setdefault(opened[0], []).append(opened[1])
                    marks.setdefault(index, []).append(start)
                    opened = None
                elif not text[end : end + 1].isspace():
                    opened = index, start, depth
    return marks
