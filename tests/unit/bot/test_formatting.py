"""What of Markdown becomes which formatting, and what the messages of an answer look like."""

import pytest
from aiogram.types import MessageEntity

from ai_assistant.bot.formatting.answers import answer_parts, plain_parts
from ai_assistant.bot.formatting.parts import PART_UNITS, DocumentPart, TextPart, from_json, marked
from ai_assistant.bot.formatting.preview import preview


def only(markdown: str) -> TextPart:
    (part,) = answer_parts(markdown)
    assert isinstance(part, TextPart)
    return part


def covered(part: TextPart) -> list[tuple[str, str]]:
    """The kinds of the entities and the text under each."""
    letters = part.text.encode("utf-16-le")
    found = []
    for entity in part.entities:
        MessageEntity(**entity)
        found.append(
            (entity["type"], letters[2 * entity["offset"] : 2 * (entity["offset"] + entity["length"])].decode("utf-16-le"))
        )
    return found


@pytest.mark.parametrize(
    ("markdown", "text", "entities"),
    [
        ("# Title `x`", "Title x", [("bold", "Title"), ("code", "x")]),
        (
            "👍 **жирный** *курсив* ~~нет~~ ||тайна||",
            "👍 жирный курсив нет тайна",
            [("bold", "жирный"), ("italic", "курсив"), ("strikethrough", "нет"), ("spoiler", "тайна")],
        ),
        ("a || b and ~5 ~6", "a || b and ~5 ~6", []),
        ("- [x] done\n- open\n  1. deep", "☑ done\n• open\n    1. deep", []),
        ("> one\n> > two", "one\n\n> two", [("blockquote", "one\n\n> two")]),
        ("[site](https://e.com) [file](./a.md) [top](#a)", "site file (./a.md) top", [("text_link", "site")]),
        ("<b>HTML</b> &amp; <think>", "<b>HTML</b> & <think>", []),
        ("$x^2$ costs $5 or $10, \\(\\frac{a}{b}\\)", "x² costs $5 or $10, a/b", []),
        ("`\\(x^2\\)`", "\\(x^2\\)", [("code", "\\(x^2\\)")]),
        ("```py\n  x\n```", "  x", [("pre", "  x")]),
        (
            "| a | число |\n|---|--:|\n| ❤️ | 1 |",
            "a  │ число\n───┼──────\n❤️ │     1",
            [("pre", "a  │ число\n───┼──────\n❤️ │     1")],
        ),
        ("Source\n\n[1]: https://e.com/source", "Source\n\n[1]: https://e.com/source", []),
        ("Text\n---", "Text\n\n———", []),
        # What models really write
        ("````md\n```py\nx\n```\n````\nafter", "```py\nx\n```\n\nafter", [("pre", "```py\nx\n```")]),
        ("Text:\n\n    a\n      b", "Text:\n\na\n  b", [("pre", "a\n  b")]),
        ("* **Name**: text\n* **Second:** more", "• Name: text\n• Second: more", [("bold", "Name"), ("bold", "Second:")]),
        ("## [Title](https://e.com/a_b)", "Title", [("text_link", "Title"), ("bold", "Title")]),
        ("1️⃣ one #️⃣ *️⃣", "1️⃣ one #️⃣ *️⃣", []),
        ("2*3*4 = 24, a*b*c, 2 * 3 * 4, x**2 + y**2", "2*3*4 = 24, a*b*c, 2 * 3 * 4, x**2 + y**2", []),
        ("при**став**ка, *курсив*ный", "приставка, курсивный", [("bold", "став"), ("italic", "курсив")]),
        ("__init__ and __init__.py, snake_case_name, _i_", "__init__ and __init__.py, snake_case_name, i", [("italic", "i")]),
        ("__Very important__", "Very important", [("bold", "Very important")]),
        ("https://e.com/_a_/b_c?d=*e*", "https://e.com/_a_/b_c?d=*e*", []),
        ("C:\\Users\\new_folder\\*.txt \\\\server\\share\\_x", "C:\\Users\\new_folder\\*.txt \\\\server\\share\\_x", []),
        ("^\\d+\\.(\\w*)$ \\*not\\* 1\\. \\[ab\\]", "^\\d+\\.(\\w*)$ *not* 1. [ab]", []),
        ("$$E = mc^2$$ and \\[ a_1 \\]", "E = mc² and a₁", []),
        ("<details>\n<summary>S</summary>\n</details>", "<details>\n<summary>S</summary>\n</details>", []),
        ("Fact[^1].\n\n[^1]: The source", "Fact[^1].\n\n[^1]: The source", []),
        ("Он сказал: «**Привет**, мир»", "Он сказал: «Привет, мир»", [("bold", "Привет")]),
        ("7. seven\n8. eight", "7. seven\n8. eight", []),
        (
            "| a | b |\n|---|---|\n| `x \\| y` | z |",
            "a     │ b\n──────┼──\nx | y │ z",
            [("pre", "a     │ b\n──────┼──\nx | y │ z")],
        ),
        ('[a](https://e.com "A title")', "a (A title)", [("text_link", "a")]),
        ("```python src/main.py\nx\n```", "src/main.py\n\nx", [("pre", "x")]),
        ("```не язык\nx\n```", "не язык\n\nx", [("pre", "x")]),
        ("~б ~я", "~б ~я", []),
        ("~бя~", "~бя~", []),
    ],
)
def test_markdown_becomes_entities(markdown: str, text: str, entities: list[tuple[str, str]]) -> None:
    part = only(markdown)
    assert part.text == text
    assert covered(part) == entities


def test_a_wide_table_is_a_list_of_named_values() -> None:
    part = only("| name | description |\n|---|---|\n| one | " + "long " * 12 + "|\n| two | short |")
    assert part.text.startswith("name: one\ndescription: long long")
    assert ("bold", "name: two") in covered(part)


def test_a_row_may_have_more_cells_than_the_header() -> None:
    assert only("| a |\n|---|\n| 1 | 2 | three |").text == "a │   │\n──┼───┼──────\n1 │ 2 │ three"


def test_code_that_must_be_cut_is_reopened_with_its_language() -> None:
    first = "слово " * 400
    code = "\n".join(f"line_{number} = {number}" for number in range(150))
    parts = answer_parts(f"{first}\n\n```python\n{code}\n```\n\n" + "after " * 300)
    assert all(isinstance(part, TextPart) and len(part.text) <= PART_UNITS for part in parts)
    languages = [entity.get("language") for part in parts if isinstance(part, TextPart) for entity in part.entities]
    assert set(languages) == {"python"}


def test_long_code_is_a_file_which_the_text_names() -> None:
    parts = answer_parts("Look:\n\n```python\n# src/main.py\n" + "x = 1\n" * 700 + "```\nDone.")
    assert [type(part) for part in parts] == [TextPart, DocumentPart, TextPart]
    assert parts[0].text == "Look:\n\n📄 main.py"
    assert parts[1] == DocumentPart("main.py", "# src/main.py\n" + "x = 1\n" * 699 + "x = 1", "python")


def test_more_than_a_hundred_entities_take_another_message() -> None:
    parts = answer_parts(" ".join(f"**word{number}** and some text" for number in range(150)))
    assert [len(part.entities) for part in parts if isinstance(part, TextPart)] == [100, 50]


def test_long_addresses_do_not_exceed_what_telegram_takes() -> None:
    parts = answer_parts(" ".join(f"[{number}](https://e.com/{'a' * 1500})" for number in range(20)))
    assert all(sum(len(entity.get("url", "")) for entity in part.entities) < 9000 for part in parts if isinstance(part, TextPart))


def test_one_endless_word_is_cut_between_characters() -> None:
    family = "👨‍👩‍👧‍👦"
    parts = answer_parts(family * 1000)
    assert "".join(part.text for part in parts) == family * 1000
    assert all(len(part.text) % len(family) == 0 for part in parts)


@pytest.mark.parametrize("nothing", ["", "  \n\t", "\x00", "\u200b\u200f"])
def test_what_cannot_be_seen_is_no_message(nothing: str) -> None:
    assert answer_parts(nothing) == []


def test_mere_marks_are_shown_as_they_are() -> None:
    assert only("```").text == "```"


def test_parts_survive_the_ledger() -> None:
    for part in answer_parts("**a** [b](https://e.com)\n\n```py\n" + "x\n" * 2000 + "```"):
        assert from_json(part.to_json()) == part
    with pytest.raises(ValueError, match="'picture'"):
        from_json({"kind": "picture"})


def test_a_mark_moves_the_entities() -> None:
    part = marked(only("**a**"), "👍 again: ")
    assert covered(part) == [("bold", "a")]
    assert part.plain() == TextPart("👍 again: a")


def test_plain_text_keeps_its_marks() -> None:
    assert plain_parts("**a** <b>") == [TextPart("**a** <b>")]


@pytest.mark.parametrize(
    "end",
    ["**bold", "**bold*", "**bold**", "`bold", "[bold", "[bold](https://e", "~~bold", "||bold", "*bold", "**bold** "],
)
def test_a_preview_shows_what_half_a_mark_becomes(end: str) -> None:
    assert preview(f"Some {end}").text == "Some bold"


def test_a_preview_keeps_what_was_bold() -> None:
    markdown = "Some **bold text** and more"
    for end in range(len("Some **b"), len(markdown)):
        assert covered(preview(markdown[:end]))[0][0] == "bold", markdown[:end]


@pytest.mark.parametrize(("markdown", "text"), [("||secret|| ", "secret"), ("1. a\n2", "1. a"), ("2*3", "2*3"), ("2*3*", "2*3")])
def test_a_preview_does_not_flash(markdown: str, text: str) -> None:
    assert preview(markdown).text == text


def test_a_preview_of_a_table_is_one_from_its_first_line() -> None:
    assert [kind for kind, _ in covered(preview("Here:\n\n| name | val"))] == ["pre"]


def test_a_preview_of_a_long_answer_is_its_end() -> None:
    paragraphs = [f"paragraph {number} **bold** " + "word " * 30 for number in range(400)]
    part = preview("\n\n".join(paragraphs))
    assert part.text.startswith("…\nparagraph ")
    assert part.text.endswith("word")
    assert "paragraph 399" in part.text
    assert len(part.text) <= PART_UNITS
