"""People: what they do in chats, and the updates that the bot gets from it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from telegram.chats import Chat, JsonObject, Message
from telegram.entity_rules import TEXT_UNITS, units

if TYPE_CHECKING:
    from telegram.api import BotApi
    from telegram.groups import Group

FILE = {"file_id": "file", "file_unique_id": "file"}
CONTENTS: dict[str, Any] = {
    "photo": [FILE | {"width": 90, "height": 90}],
    "sticker": FILE | {"type": "regular", "width": 512, "height": 512, "is_animated": False, "is_video": False, "emoji": "👍"},
    "voice": FILE | {"duration": 3},
    "video": FILE | {"width": 90, "height": 90, "duration": 3},
    "video_note": FILE | {"length": 90, "duration": 3},
    "audio": FILE | {"duration": 3},
    "document": FILE | {"file_name": "notes.pdf"},
    "location": {"latitude": 59.9, "longitude": 30.3},
    "contact": {"phone_number": "+10000000000", "first_name": "Boris"},
}
FOUND = re.compile(r"(?<![\w/@])(?:(?P<bot_command>/\w+(?:@\w+)?)|(?P<mention>@\w{4,}))")


def found_entities(text: str) -> list[JsonObject]:
    """The commands and mentions that a client marks by itself."""
    return [
        {"type": match.lastgroup, "offset": units(text[: match.start()]), "length": units(match.group())}
        for match in FOUND.finditer(text)
    ]


def client_parts(text: str) -> list[str]:
    """A long text as a client cuts it: 4,096 UTF-16 units, no character in halves."""
    parts, start, size = [], 0, 0
    for position, character in enumerate(text):
        width = units(character)
        if size + width > TEXT_UNITS:
            parts.append(text[start:position])
            start, size = position, 0
        size += width
    return [*parts, text[start:]]


@dataclass
class CallbackQuery:
    """A press of an inline button; `answer` is None until the bot answers."""

    id: str
    data: str
    answer: str | None = None


class Person:
    """Somebody with a client. What they do in private needs no `chat`; elsewhere it is the group."""

    def __init__(self, api: BotApi, user_id: int, name: str, language: str) -> None:
        self.api = api
        self.id = user_id
        self.user: JsonObject = {"id": user_id, "is_bot": False, "first_name": name, "language_code": language}

    def knows_bot(self) -> Chat:
        """The private chat, opened without a word; before it is open the bot gets "chat not found"."""
        return self.api.chats.open({"id": self.id, "type": "private", "first_name": self.user["first_name"]})

    def says(
        self, text: str, chat: Group | None = None, *, thread_id: int | None = None, reply_to: int | None = None,
        entities: list[JsonObject] | None = None,
    ) -> int:  # fmt: skip
        """Write a text; returns the number of the message. Commands and mentions are marked unless entities are given."""
        marks = found_entities(text) if entities is None else entities
        return self._sends(chat, thread_id, reply_to, text=text, entities=marks)

    def mentions_bot(self, text: str, chat: Group, *, thread_id: int | None = None, by_name: bool = True) -> int:
        """Write `@bot text`, or a mention without a user name (`text_mention`)."""
        if by_name:
            return self.says(f"@{self.api.me['username']} {text}", chat, thread_id=thread_id)
        name = str(self.api.me["first_name"])
        mark = {"type": "text_mention", "offset": 0, "length": units(name), "user": self.api.me}
        return self.says(f"{name} {text}", chat, thread_id=thread_id, entities=[mark])

    def pastes(self, text: str, chat: Group | None = None, *, thread_id: int | None = None) -> list[int]:
        """Send a text of any length as a client does: cut into messages that follow each other at once."""
        return [self.says(part, chat, thread_id=thread_id) for part in client_parts(text)]

    def sends(
        self, kind: str, chat: Group | None = None, *, caption: str = "", thread_id: int | None = None,
        reply_to: int | None = None,
    ) -> int:  # fmt: skip
        """Send a photo, sticker, voice, video, video_note, audio, document, location or contact."""
        content: JsonObject = {kind: CONTENTS[kind]}
        if caption:
            content |= {"caption": caption, "caption_entities": found_entities(caption)}
        return self._sends(chat, thread_id, reply_to, content=content)

    def edits(self, message_id: int, text: str, chat: Group | None = None) -> int | None:
        """Change an own text; returns the number of the update."""
        place = self._place(chat)
        with self.api.lock:
            message = place.messages[message_id]
            assert message.sender["id"] == self.id, "people edit their own messages"
            message.text, message.entities, message.edit_date = text, found_entities(text), int(time.time())
            message.edits.append((self.api.clock.now(), text))
            body = place.shown(message)
        return self.api.updates.put("edited_message", body)

    def deletes(self, message_id: int, chat: Group | None = None) -> None:
        """Remove a message, whoever wrote it; bots are not told."""
        with self.api.lock:
            del self._place(chat).messages[message_id]

    def presses(self, button: str, chat: Group | None = None, *, message_id: int | None = None) -> str:
        """Press the inline button with this text or data, on the newest message that has it; returns the query's id."""
        place = self._place(chat)
        with self.api.lock:
            numbers = [message_id] if message_id is not None else [*reversed(place.messages)]
            for message in (place.messages[number] for number in numbers):
                for key in (key for row in (message.markup or {}).get("inline_keyboard", []) for key in row):
                    if button in (key["text"], key.get("callback_data")) and "callback_data" in key:
                        return self._query(place, message, key["callback_data"])
        raise AssertionError(f"no button {button!r} in chat {place.id}")

    def stops(self, *, thread_id: int | None = None) -> int:
        """Press Stop below the draft; returns the draft's id."""
        with self.api.lock:
            frame = self.api.drafts.stop(self.id, thread_id, self.api.clock.now())
        body: JsonObject = {"chat": self.knows_bot().description, "draft_id": frame.draft_id}
        self.api.updates.put("stopped_message_generation", body | ({"message_thread_id": thread_id} if thread_id else {}))
        return frame.draft_id

    def topic(self, name: str = "Topic") -> int:
        """Open a topic in the private chat; returns its thread id."""
        return open_topic(self.api, self.knows_bot(), self.user, name)

    def blocks(self) -> None:
        self.api.change_membership(self.knows_bot(), "kicked", self.user)

    def unblocks(self) -> None:
        self.api.change_membership(self.knows_bot(), "member", self.user)

    def _place(self, chat: Group | None) -> Chat:
        return self.knows_bot() if chat is None else chat.chat

    def _query(self, place: Chat, message: Message, data: str) -> str:
        query = CallbackQuery(str(len(self.api.callbacks) + 1), data)
        self.api.callbacks[query.id] = query
        body = {
            "id": query.id, "from": self.user, "chat_instance": str(place.id), "data": data, "message": place.shown(message)
        }  # fmt: skip
        self.api.updates.put("callback_query", body)
        return query.id

    def _sends(self, chat: Group | None, thread_id: int | None, reply_to: int | None, **content: Any) -> int:
        place = self._place(chat)
        assert chat is None or self.id in place.members, f"{self.id} is not in the group {place.id}"
        return told(self.api, place, self.user, thread_id, reply_to, **content)


def told(
    api: BotApi, place: Chat, sender: JsonObject, thread_id: int | None = None, reply_to: int | None = None, **content: Any
) -> int:
    """Put a message into a chat and tell the bot, if it is there; returns the number of the message."""
    with api.lock:
        assert reply_to is None or reply_to in place.messages, f"no message {reply_to} in chat {place.id}"
        thread, in_topic = place.thread_of(thread_id, reply_to)
        message = place.add(
            Message(
                place.next_number(), place.id, dict(sender), api.clock.now(),
                thread_id=thread, in_topic=in_topic, reply_to=reply_to, **content,
            )
        )  # fmt: skip
        if place.bot_status in ("member", "administrator"):
            api.updates.put("message", place.shown(message))
        return message.message_id


def open_topic(api: BotApi, place: Chat, by: JsonObject, name: str) -> int:
    """A topic and its service message; returns the thread id."""
    with api.lock:
        number = place.next_number()
        place.topics[number] = name
        content = {"forum_topic_created": {"name": name, "icon_color": 7322096}}
        message = Message(number, place.id, dict(by), api.clock.now(), thread_id=number, in_topic=True, content=content)
        api.updates.put("message", place.shown(place.add(message)))
        return number
