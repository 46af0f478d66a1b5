"""What a reader is told when a task is over."""

from typing import Any

import pytest

from ai_assistant.bot.formatting.parts import TextPart
from ai_assistant.bot.outcome import NO_MODEL, closed, parts_of
from ai_assistant.bot.texts import TEXTS, say
from ai_assistant.errors import AssistantError


def item(
    text: str, status: str = "succeeded", *, error: str | None = None, reason: str = "stop", language: str = "en"
) -> dict[str, Any]:
    problem = {"code": error, "message": "The gateway's own sentence."} if error else None
    task = {"task_id": "t", "text": text, "status": status, "finish_reason": reason, "error": problem}
    return {"target": {"chat_id": 7, "language": language}, "task": task, "text": None}


def words(told: dict[str, Any]) -> str:
    [part] = parts_of(told)
    assert isinstance(part, TextPart)
    return part.text


def test_an_answer_is_formatted() -> None:
    [part] = parts_of(item("Some **bold** words."))
    assert isinstance(part, TextPart)
    assert part.text == "Some bold words."
    assert [entity["type"] for entity in part.entities] == ["bold"]


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(
    ("status", "reason", "key"),
    [
        ("cancelled", "cancelled", "ending_stopped"),
        ("succeeded", "length", "ending_length"),
        ("expired", "deadline", "ending_deadline"),
        ("failed", "error", "ending_failed"),
        ("expired", "", "ending_deadline"),
    ],
)
def test_an_answer_that_is_not_complete_says_so(status: str, reason: str, key: str, language: str) -> None:
    told = words(
        item("So far so good", status, reason=reason, error="worker_lost" if status == "failed" else None, language=language)
    )
    assert told == f"So far so good\n\n{say(key, language)}"


def test_the_sign_is_not_part_of_the_code() -> None:
    [part] = parts_of(item("Look:\n```python\nprint(1)", "cancelled"))
    assert isinstance(part, TextPart)
    [code] = [entity for entity in part.entities if entity["type"] == "pre"]
    assert part.text.index(say("ending_stopped", "en")) >= code["offset"] + code["length"]


@pytest.mark.parametrize(
    ("text", "fence"),
    [
        ("no code", ""),
        ("```\na\n```", ""),
        ("```\na", "```"),
        ("~~~~\n```\n~~~", "~~~~"),
        ("````\n```\na", "````"),
        ("``` a ``` b", ""),
        ("```\na\n``` b", "```"),
        ("   ```py\nx", "```"),
        ("    ```py\nx", ""),
    ],
)
def test_open_code_blocks(text: str, fence: str) -> None:
    assert closed(text) == (f"{text}\n{fence}" if fence else text)


def codes(error: type[AssistantError]) -> set[str]:
    return {error.code}.union(*(codes(kind) for kind in error.__subclasses__()))


def test_errors_are_told_in_the_readers_language() -> None:
    for code in ("prompt_too_long", "deadline_exceeded", "worker_lost", "assistant_deleted", "overloaded", "internal_error"):
        assert words(item("", "failed", error=code, language="ru")) == say(f"answer_{code}", "ru")
    for code in NO_MODEL:
        assert words(item(" ", "failed", error=code, language="ru")) == say("answer_no_model", "ru")
    assert codes(AssistantError) >= NO_MODEL  # none of them is a typing mistake


def test_an_unknown_error_keeps_the_gateways_sentence() -> None:
    assert words(item("", "failed", error="new_code")) == say("answer_failed", "en", message="The gateway's own sentence.")


def test_nothing_to_say() -> None:
    assert words(item("")) == say("empty", "en")


def test_a_broadcast() -> None:
    told = {"target": {"chat_id": 7}, "task": None, "text": "News for **all**."}
    assert words(told) == "News for all."


def test_the_mark_fits_beside_the_longest_part() -> None:
    for text in TEXTS["resent"].values():
        assert len(text.encode("utf-16-le")) // 2 <= 96
