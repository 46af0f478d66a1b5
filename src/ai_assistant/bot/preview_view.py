"""What a preview shows at a moment. Pure."""

import math
import uuid
from dataclasses import dataclass
from typing import Any

from ai_assistant.bot.answer_stream import Queued
from ai_assistant.bot.preview_readiness import Unready
from ai_assistant.bot.texts import say

IN_MINUTES_FROM = 120
"""Seconds; nobody counts more of them."""

LARGEST_DRAFT_ID = 2**31 - 1
"""Draft ids have no documented limit; this fits wherever an integer does."""


@dataclass(frozen=True, slots=True)
class Preview:
    """Which answer is previewed where."""

    task_id: str
    chat_id: int
    thread_id: int | None = None
    reply_to: int | None = None
    language: str | None = None
    is_group: bool = False
    assistant: str | None = None

    @classmethod
    def of(cls, task_id: str, target: dict[str, Any], assistant: str | None) -> "Preview":
        chat_id = int(target["chat_id"])
        is_group = bool(target.get("is_group", chat_id < 0))
        return cls(task_id, chat_id, target.get("thread_id"), target.get("reply_to"), target.get("language"), is_group, assistant)


@dataclass(slots=True)
class Known:
    """What is known of the answer."""

    text: str = ""
    place: Queued | None = None
    unready: Unready | None = None
    is_late: bool = False
    """It has been waited for long enough to be told why: "Queue position 1" for a blink would only flicker."""
    ended: dict[str, Any] | None = None
    """The status object."""
    is_lost: bool = False
    """Nothing more will be known."""


@dataclass(frozen=True, slots=True)
class View:
    """`text` is the answer's Markdown, or a sentence of the bot's; empty: "Thinking…"."""

    text: str
    is_answer: bool = False


def view_of(known: Known, language: str | None) -> View:
    if known.text.strip():
        return View(known.text, is_answer=True)
    if known.unready is not None:
        return View(readiness_text(known.unready, language))
    if known.place is not None and known.is_late:
        return View(queue_text(known.place, language))
    return View("")


def queue_text(place: Queued, language: str | None) -> str:
    if place.eta_seconds is None:
        return say("queue", language, position=place.position)
    seconds = max(1, math.ceil(place.eta_seconds))
    if seconds < IN_MINUTES_FROM:
        return say("queue_seconds", language, position=place.position, seconds=seconds)
    return say("queue_minutes", language, position=place.position, minutes=round(seconds / 60))


def readiness_text(unready: Unready, language: str | None) -> str:
    if unready.is_broken:
        return say("broken_why", language, why=unready.why) if unready.why else say("broken", language)
    if unready.percent is None:
        return say("preparing", language)
    return say("preparing_percent", language, percent=unready.percent)


def draft_id_of(task_id: str) -> int:
    """Always the same for a task, so that the Stop button of a draft from before a restart finds it; never 0."""
    return uuid.UUID(task_id).int % LARGEST_DRAFT_ID + 1
