"""Chats, their topics and messages: what exists at Telegram, whoever wrote it."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from telegram.calls import RefusedError, bad_request

JsonObject = dict[str, Any]


@dataclass
class Message:
    """A message as its readers see it now."""

    message_id: int
    chat_id: int
    sender: JsonObject
    at: float
    """When it was sent, in Telegram's seconds."""
    text: str = ""
    entities: list[JsonObject] = field(default_factory=list)
    thread_id: int | None = None
    in_topic: bool = False
    reply_to: int | None = None
    markup: JsonObject | None = None
    document: tuple[str, bytes] | None = None
    content: JsonObject = field(default_factory=dict)
    """What is neither text nor a document: a photo, a service message."""
    date: int = field(default_factory=lambda: int(time.time()))
    edit_date: int | None = None
    edits: list[tuple[float, str]] = field(default_factory=list)
    """Each text that it got later, and when."""

    @property
    def from_bot(self) -> bool:
        return bool(self.sender["is_bot"])


class Chat:
    """One chat: private, group or supergroup. `known` says whether the bot may write there."""

    def __init__(self, description: JsonObject, numbers: Iterator[int]) -> None:
        self.description = description
        self.id = int(description["id"])
        self.messages: dict[int, Message] = {}
        """What is there now, in the order of sending."""
        self.topics: dict[int, str] = {}
        self.members: dict[int, JsonObject] = {}
        self.bot_status = "member"
        self.closed: RefusedError | None = None
        """Why the bot may not write here any more."""
        self.numbers = numbers

    @property
    def is_private(self) -> bool:
        return bool(self.description["type"] == "private")

    @property
    def is_forum(self) -> bool:
        return bool(self.description.get("is_forum"))

    def next_number(self) -> int:
        return next(self.numbers)

    def add(self, message: Message) -> Message:
        self.messages[message.message_id] = message
        return message

    def thread_of(self, thread_id: int | None, reply_to: int | None) -> tuple[int | None, bool]:
        """The thread of a new message and whether it is a topic. Raises RefusedError where there is no such thread."""
        if thread_id is not None:
            if thread_id in self.topics:
                return thread_id, True
            raise bad_request("message thread not found")
        answered = self.messages.get(reply_to) if reply_to is not None else None
        if answered is None:
            return None, False
        if answered.in_topic:
            return answered.thread_id, True
        # outside of forums Telegram numbers threads of replies too, and takes these numbers nowhere
        if self.description["type"] == "supergroup" and not self.is_forum:
            return answered.thread_id or answered.message_id, False
        return None, False

    def shown(self, message: Message, quote: bool = True) -> JsonObject:
        """A message as the Bot API describes it."""
        body: JsonObject = {
            "message_id": message.message_id,
            "date": message.date,
            "chat": self.description,
            "from": message.sender,
            **message.content,
        }
        caption = "caption_" if message.document else ""
        if message.text:
            body["caption" if message.document else "text"] = message.text
        if message.entities:
            body[f"{caption}entities"] = message.entities
        if message.document:
            name, content = message.document
            identity = f"document-{self.id}-{message.message_id}"
            body["document"] = {"file_id": identity, "file_unique_id": identity, "file_name": name, "file_size": len(content)}
        if message.thread_id is not None:
            body["message_thread_id"] = message.thread_id
        if message.in_topic:
            body["is_topic_message"] = True
        if message.markup and "inline_keyboard" in message.markup:
            body["reply_markup"] = message.markup
        if message.edit_date is not None:
            body["edit_date"] = message.edit_date
        # in a forum what answers nothing answers the topic's first message
        reply_to = message.thread_id if message.reply_to is None and message.in_topic and self.is_forum else message.reply_to
        if quote and reply_to not in (None, message.message_id) and (answered := self.messages.get(reply_to or 0)):
            body["reply_to_message"] = self.shown(answered, quote=False)
        return body


class Chats:
    """All chats that the bot has met, by id."""

    def __init__(self) -> None:
        self.found: dict[int, Chat] = {}
        self._numbers = itertools.count(1)
        """Private chats and groups share one row of numbers; every supergroup has its own."""

    def open(self, description: JsonObject) -> Chat:
        """The chat with this id, made if it is new."""
        chat = self.found.get(description["id"])
        if chat is None:
            numbers = itertools.count(1) if description["type"] == "supergroup" else self._numbers
            chat = self.found[description["id"]] = Chat(description, numbers)
        return chat

    def writable(self, chat_id: int | None) -> Chat:
        """The chat to write to. Raises RefusedError where the bot may not."""
        chat = self.get(chat_id)
        if chat.closed is not None:
            raise chat.closed
        return chat

    def get(self, chat_id: int | None) -> Chat:
        chat = self.found.get(chat_id) if chat_id is not None else None
        if chat is None:
            raise bad_request("chat not found")
        return chat
