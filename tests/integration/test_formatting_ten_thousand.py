"""Ten thousand answers through formatting: what was written is shown, in order, and Telegram takes every message."""

import random

import pytest
from telegram.entity_rules import violations

from ai_assistant.bot.formatting.answers import answer_parts
from ai_assistant.bot.formatting.parts import PART_UNITS, Part, TextPart
from written_answers import Author, damaged, everything, lost, substance, taken_back


def refusals(parts: list[Part]) -> list[str]:
    found = []
    for part in parts:
        if isinstance(part, TextPart):
            found += violations(part.text, part.entities)
            found += [f"{units} units" for units in [len(part.text.encode("utf-16-le")) // 2] if units > PART_UNITS]
            found += [f"{len(part.entities)} entities"] if len(part.entities) > 100 else []
    return found


@pytest.mark.parametrize("first", range(1_000_000, 1_005_000, 1_000))
def test_written_answers_are_shown_as_written(first: int) -> None:
    for number in range(first, first + 1_000):
        markdown, blocks = Author(random.Random(number), simple=False).answer()
        parts = answer_parts(markdown)
        assert lost(parts, blocks) == "", (number, markdown)
        assert refusals(parts) == [], (number, markdown)


@pytest.mark.parametrize("first", range(2_000_000, 2_005_000, 1_000))
def test_damaged_answers_lose_no_letter(first: int) -> None:
    for number in range(first, first + 1_000):
        source = random.Random(number)
        markdown = damaged(Author(source, simple=True).answer()[0], source)
        parts = answer_parts(markdown)
        assert substance(everything(parts, with_hidden=True)) == substance(markdown), (number, markdown)
        assert refusals(parts) == [], (number, markdown)


@pytest.mark.parametrize("first", range(3_000_000, 3_000_200, 50))
def test_previews_of_a_growing_answer_take_nothing_back(first: int) -> None:
    for number in range(first, first + 50):
        markdown, _ = Author(random.Random(number), simple=True).answer()
        assert taken_back(markdown[:1_500]) == [], (number, markdown)
