"""Nothing that was written is lost: answers of which it is known what they shall show, and damaged ones."""

import logging
import random
import time

import pytest
from telegram.entity_rules import violations

from ai_assistant.bot.formatting.answers import answer_parts
from ai_assistant.bot.formatting.parts import PART_UNITS, TextPart
from ai_assistant.bot.formatting.preview import preview
from written_answers import Author, damaged, everything, lost, substance, taken_back

ANSWERS = 1_000


def test_messages_show_exactly_what_was_written(caplog: pytest.LogCaptureFixture) -> None:
    cut = 0
    for number in range(ANSWERS):
        markdown, blocks = Author(random.Random(number), simple=False).answer()
        parts = answer_parts(markdown)
        cut += len(parts) > 1
        assert lost(parts, blocks) == "", (number, markdown)
    assert cut > ANSWERS // 100, "some are cut into several messages"
    assert caplog.records == [], "none had to go as plain text"


def test_damaged_markdown_loses_no_letter(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for number in range(ANSWERS):
        source = random.Random(number)
        markdown = damaged(Author(source, simple=True).answer()[0], source)
        parts = answer_parts(markdown)
        assert substance(everything(parts, with_hidden=True)) == substance(markdown), (number, markdown)
        for part in parts:
            assert not isinstance(part, TextPart) or violations(part.text, part.entities) == [], (number, markdown)
    assert caplog.records == [], "none had to go as plain text"


def test_a_lost_word_would_be_noticed() -> None:
    markdown, blocks = Author(random.Random(1), simple=False).answer()
    first = markdown.split()[0]
    assert lost(answer_parts(markdown), blocks) == ""
    assert lost(answer_parts(markdown.replace(first, "", 1)), blocks) != ""
    assert lost(answer_parts(markdown + " more"), blocks) != ""


def dense(characters: int) -> str:
    """Much formatting in few characters."""
    author = Author(random.Random(5), simple=False)
    markdown = ""
    while len(markdown) < characters:
        markdown += author.block().markdown + "\n\n"
    return markdown[:characters]


def best(action: object, markdown: str, times: int = 5) -> float:
    """Seconds of the processor, which other programs on the machine do not make more."""
    assert callable(action)
    seconds = []
    for _ in range(times):
        started = time.process_time()
        assert action(markdown)
        seconds.append(time.process_time() - started)
    return min(seconds)


def test_a_preview_takes_no_time() -> None:
    markdown = dense(4_000)
    assert best(preview, markdown) < 0.02, "fourfold of what it may take on a machine with nothing else to do"


@pytest.mark.parametrize(
    "repeated",
    ["x", "**a** ", "👍", "[", "*a _b ", "||a ", "`a ", "> ", "- a\n", "\\_a", "[a](b) ", "$a_b ", "|a|\n|-|\n", "<a "],
)
def test_time_grows_with_length_and_not_with_its_square(repeated: str) -> None:
    short = best(answer_parts, repeated * (10_000 // len(repeated)))
    long = best(answer_parts, repeated * (40_000 // len(repeated)))
    assert long < max(8 * short, 0.2)


def test_time_grows_with_the_length_of_an_answer() -> None:
    assert best(answer_parts, dense(40_000)) < 8 * best(answer_parts, dense(10_000))


@pytest.mark.parametrize("first", [0, 10])
def test_a_preview_takes_nothing_back(first: int) -> None:
    for number in range(first, first + 10):
        markdown, _ = Author(random.Random(number), simple=True).answer()
        assert taken_back(markdown[:500]) == []


def test_messages_fit() -> None:
    for part in answer_parts(dense(40_000)):
        assert not isinstance(part, TextPart) or len(part.text.encode("utf-16-le")) // 2 <= PART_UNITS
