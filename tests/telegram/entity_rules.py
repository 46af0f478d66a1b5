"""What Telegram asks of the entities of a text; usable without a server.

The rules are those of the documentation of formatting options. Where the real server silently drops what breaks one,
this module reports it, so that a bot which passes here loses no formatting there.
"""

from collections.abc import Iterable, Mapping
from typing import Any

TEXT_UNITS = 4096
CAPTION_UNITS = 1024

STYLES = {"bold", "italic", "underline", "strikethrough", "spoiler"}
QUOTES = {"blockquote", "expandable_blockquote"}
MONOSPACE = {"code", "pre"}
LINKS = {"text_link", "text_mention", "custom_emoji", "date_time"}
FOUND = {"mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number"}
TYPES = STYLES | QUOTES | MONOSPACE | LINKS | FOUND
NEEDED = {"text_link": "url", "text_mention": "user", "custom_emoji": "custom_emoji_id", "date_time": "unix_time"}
SCHEMES = ("http://", "https://", "tg://", "ton://", "mailto:", "tel:")

Entity = Mapping[str, Any]


def units(text: str) -> int:
    """The length of a text in UTF-16 code units, which is how Telegram counts."""
    return len(text) + sum(character > "\uffff" for character in text)


def cut(text: str, offset: int, length: int) -> str:
    """The part of a text that an entity covers; offset and length in UTF-16 units."""
    return text.encode("utf-16-le", "surrogatepass")[2 * offset : 2 * (offset + length)].decode("utf-16-le", "replace")


def violations(text: str, entities: Iterable[Entity]) -> list[str]:
    """Every rule that the entities break, one sentence each; empty when Telegram takes them."""
    found = ["text must be encoded in UTF-8"] if any("\ud800" <= character <= "\udfff" for character in text) else []
    inner, size = second_halves(text), units(text)
    placed = []
    for entity in entities:
        problem = misplaced(entity, size, inner)
        if problem is None:
            placed.append(entity)
        else:
            found.append(problem)
    return found + badly_nested(placed)


def second_halves(text: str) -> set[int]:
    """Offsets in the middle of a surrogate pair: nothing may begin or end there."""
    inner, offset = set(), 0
    for character in text:
        offset += 1
        if character > "\uffff":
            inner.add(offset)
            offset += 1
    return inner


def misplaced(entity: Entity, size: int, inner: set[int]) -> str | None:
    """What is wrong with one entity by itself."""
    kind, offset, length = entity.get("type"), entity.get("offset"), entity.get("length")
    if kind not in TYPES:
        return f"unsupported entity type {kind!r}"
    if type(offset) is not int or type(length) is not int:
        return f"{kind} has no integer offset and length"
    if offset < 0 or length <= 0:
        return f"{kind} at UTF-16 offset {offset} has the length {length}"
    if offset + length > size:
        return f"{kind} at UTF-16 offset {offset} ends after the end of the text at UTF-16 offset {offset + length}"
    if offset in inner:
        return f"{kind} begins in a middle of a UTF-16 symbol at offset {offset}"
    if offset + length in inner:
        return f"{kind} ends in a middle of a UTF-16 symbol at offset {offset + length}"
    if (needed := NEEDED.get(str(kind))) and not entity.get(needed):
        return f"{kind} at UTF-16 offset {offset} has no {needed}"
    if kind == "text_link" and not str(entity["url"]).lower().startswith(SCHEMES):
        return f"text_link at UTF-16 offset {offset} has the unsupported URL {entity['url']!r}"
    return None


def badly_nested(entities: list[Entity]) -> list[str]:
    """Entities that cross each other, or are inside one that may not contain them."""
    found: list[str] = []
    around: list[Entity] = []
    for entity in sorted(entities, key=lambda item: (item["offset"], -item["length"], rank(item["type"]))):
        start, end = entity["offset"], entity["offset"] + entity["length"]
        while around and ends(around[-1]) <= start:
            around.pop()
        if around and ends(around[-1]) < end:
            found.append(f"{entity['type']} at UTF-16 offset {start} overlaps {around[-1]['type']} and is not inside it")
            continue
        for outer in around:
            if not may_contain(outer["type"], entity["type"]):
                found.append(f"{entity['type']} at UTF-16 offset {start} is nested in {outer['type']}")
        around.append(entity)
    return found


def ends(entity: Entity) -> int:
    return int(entity["offset"]) + int(entity["length"])


def rank(kind: str) -> int:
    """Of two entities with the same place, which is around the other."""
    return 0 if kind in QUOTES else 1 if kind in STYLES else 2


def may_contain(outer: str, inner: str) -> bool:
    if outer in MONOSPACE:
        return False
    if outer in QUOTES:
        return inner not in QUOTES
    if outer in STYLES:
        return inner not in MONOSPACE
    return inner in STYLES


def clipped(text: str, entities: Iterable[Entity]) -> tuple[str, list[dict[str, Any]]]:
    """The text as Telegram keeps it: no white space around it, the entities moved and shortened with it.

    White space at the front ends where the first entity begins; entities of which nothing is left are dropped.
    """
    ordered = sorted((dict(entity) for entity in entities), key=lambda item: (item["offset"], -item["length"]))
    kept = text.rstrip()
    front = len(kept) - len(kept.lstrip())
    if ordered:
        front = min(front, len(cut(kept, 0, ordered[0]["offset"])))
    moved, kept = front, kept[front:]
    size = units(kept)
    result = []
    for entity in ordered:
        entity["offset"] -= moved
        entity["length"] = min(entity["length"], size - entity["offset"])
        if entity["length"] > 0:
            result.append(entity)
    return kept, result
