"""What a reader is told when a task is over: the answer, and how it ended where it did not end well. Pure."""

import re
from typing import Any

from ai_assistant.bot.formatting.answers import answer_parts, plain_parts
from ai_assistant.bot.formatting.parts import Part
from ai_assistant.bot.texts import TEXTS, say

NO_MODEL = frozenset(
    {
        "model_error",
        "model_server_unavailable",
        "model_server_refused",
        "model_server_failed",
        "model_package_broken",
        "unsupported_model",
        "model_rejected",
        "download_failed",
        "source_unreachable",
        "checksum_mismatch",
        "no_space",
    }
)

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def parts_of(item: dict[str, Any]) -> list[Part]:
    """The messages of a claimed delivery; at least one."""
    language = item["target"].get("language")
    task = item["task"]
    if task is None:
        parts = answer_parts(item["text"])
    elif text := str(task["text"]).strip():
        ending = ending_of(task)
        parts = answer_parts(f"{closed(text)}\n\n_{say(ending, language)}_" if ending else text)
    else:
        parts = [*plain_parts(sentence(task["error"], language))] if task["error"] else []
    return parts or [*plain_parts(say("empty", language))]


def ending_of(task: dict[str, Any]) -> str | None:
    """The text for an answer that is not complete."""
    by_reason = {
        "length": "ending_length",
        "deadline": "ending_deadline",
        "cancelled": "ending_stopped",
        "error": "ending_failed",
    }
    by_status = {"cancelled": "ending_stopped", "expired": "ending_deadline", "failed": "ending_failed"}
    return by_status.get(task["status"]) or by_reason.get(task.get("finish_reason") or "")


def sentence(error: dict[str, Any], language: str | None) -> str:
    """Ours in the reader's language, or the gateway's where none of ours fits."""
    key = "answer_no_model" if error["code"] in NO_MODEL else f"answer_{error['code']}"
    if key in TEXTS:
        return say(key, language)
    return say("answer_failed", language, message=error["message"])


def closed(markdown: str) -> str:
    """With the code block closed in which the text broke off: what follows is not code."""
    fence = ""
    for line in markdown.splitlines():
        found = FENCE.fullmatch(line)
        if found is None:
            continue
        marks, rest = found.groups()
        if not fence:
            if "`" not in rest or marks[0] == "~":
                fence = marks
        elif marks[0] == fence[0] and len(marks) >= len(fence) and not rest.strip():
            fence = ""
    return f"{markdown}\n{fence}" if fence else markdown
