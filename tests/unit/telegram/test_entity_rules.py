"""Which entities Telegram takes."""

from typing import Any

import pytest
from telegram.entity_rules import clipped, cut, units, violations


def entity(kind: str, offset: int, length: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "offset": offset, "length": length, **more}


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("plain", []),
        ("bold", [entity("bold", 0, 4)]),
        ("👍 up", [entity("bold", 0, 2), entity("italic", 3, 2)]),
        ("nested", [entity("bold", 0, 6), entity("italic", 2, 2), entity("strikethrough", 2, 2)]),
        ("same place", [entity("italic", 0, 4), entity("bold", 0, 4)]),
        ("side by side", [entity("code", 0, 4), entity("code", 4, 4)]),
        ("a link", [entity("bold", 0, 6), entity("text_link", 2, 4, url="https://example.org"), entity("italic", 2, 2)]),
        ("quoted code", [entity("blockquote", 0, 11), entity("code", 7, 4), entity("bold", 0, 6)]),
        ("print()", [entity("pre", 0, 7, language="python")]),
    ],
)
def test_taken(text: str, entities: list[dict[str, Any]]) -> None:
    assert violations(text, entities) == []
    assert violations(text, entities[::-1]) == []


@pytest.mark.parametrize(
    ("text", "entities", "expected"),
    [
        ("short", [entity("bold", 0, 6)], "ends after the end of the text"),
        ("short", [entity("bold", -1, 2)], "offset -1"),
        ("short", [entity("bold", 1, 0)], "has the length 0"),
        ("short", [entity("bold", 1, -2)], "has the length -2"),
        ("short", [{"type": "bold", "offset": 1}], "no integer offset and length"),
        ("short", [entity("bold", True, 1)], "no integer offset and length"),
        ("short", [entity("shout", 0, 1)], "unsupported entity type 'shout'"),
        ("👍 up", [entity("bold", 1, 2)], "begins in a middle of a UTF-16 symbol"),
        ("👍 up", [entity("bold", 0, 1)], "ends in a middle of a UTF-16 symbol"),
        ("overlapping", [entity("bold", 0, 5), entity("italic", 3, 5)], "overlaps bold"),
        ("overlapping", [entity("bold", 0, 11), entity("italic", 2, 4), entity("code", 4, 4)], "overlaps italic"),
        ("code", [entity("code", 0, 4), entity("bold", 1, 2)], "bold at UTF-16 offset 1 is nested in code"),
        ("code", [entity("bold", 0, 4), entity("code", 0, 4)], "code at UTF-16 offset 0 is nested in bold"),
        ("code", [entity("pre", 0, 4), entity("code", 0, 4)], "nested in"),
        ("quotes", [entity("blockquote", 0, 6), entity("expandable_blockquote", 1, 2)], "nested in blockquote"),
        ("link", [entity("text_link", 0, 4, url="https://a.org"), entity("code", 0, 4)], "nested in"),
        ("link", [entity("text_link", 0, 4)], "has no url"),
        ("link", [entity("text_link", 0, 4, url="javascript:alert(1)")], "unsupported URL"),
        ("half \ud83d", [], "UTF-8"),
    ],
)
def test_refused(text: str, entities: list[dict[str, Any]], expected: str) -> None:
    found = violations(text, entities)
    assert len(found) == 1
    assert expected in found[0]


def test_every_violation_is_told() -> None:
    assert len(violations("abc", [entity("bold", 0, 9), entity("shout", 0, 1), entity("code", 0, 2), entity("pre", 1, 2)])) == 3


def test_units() -> None:
    assert units("Привет, 👍🏽!") == len("Привет, 👍🏽!".encode("utf-16-le")) // 2 == 13
    assert cut("Привет, 👍 мир", 8, 2) == "👍"


def test_clipped() -> None:
    assert clipped("  text \n", []) == ("text", [])
    assert clipped("  👍 text \n", [entity("bold", 5, 8)]) == ("👍 text", [entity("bold", 3, 4)])
    # the front is kept where an entity begins with it
    assert clipped("  code", [entity("pre", 0, 6)]) == ("  code", [entity("pre", 0, 6)])
    assert clipped("text  ", [entity("bold", 4, 2)]) == ("text", [])
    assert clipped(" \n ", [entity("bold", 0, 3)]) == ("", [])
