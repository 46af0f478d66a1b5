"""Drafts: what a person sees of an answer that is being written, and the Stop button below it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from telegram.calls import Call, RefusedError, bad_request
from telegram.chats import JsonObject
from telegram.entity_rules import TEXT_UNITS
from telegram.messages import formatted

if TYPE_CHECKING:
    from telegram.api import BotApi

SECONDS = 30.0
KEPT_SECONDS = 5.0
"""How long a stopped draft stays with `keep_on_stop`; Telegram says only that it is short."""


@dataclass(frozen=True)
class Frame:
    """One call of sendMessageDraft that was carried out."""

    at: float
    chat_id: int
    thread_id: int | None
    draft_id: int
    text: str
    """Empty: the "Thinking…" placeholder."""
    entities: list[JsonObject]
    can_stop: bool
    keep_on_stop: bool
    after_stop: bool
    """The person had pressed Stop on this draft already, and did not see it."""


@dataclass
class Drafts:
    """The drafts of all chats, now and over time; times in Telegram's seconds."""

    frames: list[Frame] = field(default_factory=list)
    seconds: float = SECONDS
    shown: dict[tuple[int, int | None], tuple[Frame, float]] = field(default_factory=dict)
    """By chat and thread: what is there, and until when."""
    stopped: set[tuple[int, int]] = field(default_factory=set)

    def show(self, frame: Frame) -> None:
        self.frames.append(frame)
        if not frame.after_stop:
            self.shown[frame.chat_id, frame.thread_id] = frame, frame.at + self.seconds

    def visible(self, chat_id: int, thread_id: int | None, now: float) -> Frame | None:
        """What the person sees there."""
        frame, until = self.shown.get((chat_id, thread_id), (None, 0.0))
        return frame if now < until else None

    def clear(self, chat_id: int, thread_id: int | None) -> None:
        self.shown.pop((chat_id, thread_id), None)

    def stop(self, chat_id: int, thread_id: int | None, now: float) -> Frame:
        """The person presses Stop; returns the draft below which the button was."""
        frame = self.visible(chat_id, thread_id, now)
        assert frame is not None, f"no draft is shown in chat {chat_id}, thread {thread_id}"
        assert frame.can_stop, f"the draft {frame.text!r} has no Stop button"
        assert (chat_id, frame.draft_id) not in self.stopped, "Stop was pressed already"
        self.stopped.add((chat_id, frame.draft_id))
        if frame.keep_on_stop:
            self.shown[chat_id, thread_id] = frame, now + KEPT_SECONDS
        else:
            self.clear(chat_id, thread_id)
        return frame


def send_message_draft(api: BotApi, call: Call) -> bool:
    chat = api.chats.writable(call.chat_id)
    if not chat.is_private:
        raise bad_request("TEXTDRAFT_PEER_INVALID")
    draft_id = call.number("draft_id", 0)
    if not draft_id:
        raise RefusedError(400, "Bad Request: draft_id must be non-zero")
    text, entities = formatted(call, "text", "entities", TEXT_UNITS, "message is too long")
    thread_id, _ = chat.thread_of(call.optional_number("message_thread_id"), None)
    after_stop = (chat.id, draft_id) in api.drafts.stopped
    can_stop, keep_on_stop = call.flag("can_stop"), call.flag("keep_on_stop")
    api.drafts.show(Frame(api.clock.now(), chat.id, thread_id, draft_id, text, entities, can_stop, keep_on_stop, after_stop))
    return True
