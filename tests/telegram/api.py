"""The Telegram of one bot: its parts, and the short ways to what most tests need."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from telegram import faults
from telegram.bot_profile import Profile, membership
from telegram.calls import Call, RefusedError
from telegram.chats import Chat, Chats, JsonObject, Message
from telegram.clock import Clock
from telegram.drafts import Drafts, Frame
from telegram.faults import Faults
from telegram.flood import Flood
from telegram.groups import Group
from telegram.methods import METHODS
from telegram.people import CallbackQuery, Person
from telegram.record import WAIT_SECONDS, Record
from telegram.server import Server
from telegram.updates import Updates
from telegram.webhook import Webhook

TOKEN = "4242:test-token"
BOT = {"id": 4242, "is_bot": True, "first_name": "Test", "username": "test_bot"}
ABILITIES = {
    "can_join_groups": True, "can_read_all_group_messages": True, "supports_inline_queries": False,
    "can_connect_to_business": False, "has_main_web_app": False, "has_topics_enabled": True,
}  # fmt: skip


class BotApi:
    """Telegram as one bot and its people see it. Every method may be called from any thread."""

    def __init__(self, speed: float = 1.0) -> None:
        self.clock = Clock(speed)
        self.lock = threading.RLock()
        self.me: JsonObject = dict(BOT)
        self.account: JsonObject = BOT | ABILITIES
        self.chats = Chats()
        self.updates = Updates(self.clock, self.lock)
        self.drafts = Drafts()
        self.faults = Faults()
        self.flood = Flood(self.clock)
        self.record = Record()
        self.webhook = Webhook()
        self.profile = Profile()
        self.callbacks: dict[str, CallbackQuery] = {}
        self.people: dict[int, Person] = {}
        self.server = Server(self, TOKEN)

    @property
    def url(self) -> str:
        return self.server.url

    def start(self) -> None:
        """Serve; after `stop`, on the same port."""
        self.server.start()

    def stop(self) -> None:
        """Break every connection and refuse new ones. Nothing is forgotten."""
        self.server.stop()

    # who writes

    def person(self, user_id: int = 7, *, language: str | None = None, name: str = "Anna") -> Person:
        """The person with this id; language and name are those of the first time, later languages replace it."""
        person = self.people.get(user_id)
        if person is None:
            person = self.people[user_id] = Person(self, user_id, name, language or "en")
        elif language is not None:
            person.user["language_code"] = language
        return person

    def group(
        self, chat_id: int = -100, members: Sequence[Person] = (), *, title: str = "Team", kind: str = "supergroup",
        forum: bool = False,
    ) -> Group:  # fmt: skip
        """A new group to which the bot is added by its first member, who owns it; a `kind` of "group" can be upgraded."""
        return Group(self, chat_id, members or [self.person()], title, kind, forum)

    def say(self, text: str, *, user: int = 7, language: str | None = None, **options: Any) -> int:
        """A person writes to the bot in private; returns the number of the message. Options as in `Person.says`."""
        return self.person(user, language=language).says(text, **options)

    # what they see

    def messages(self, chat_id: int = 7, thread_id: int | None = None) -> list[Message]:
        """What is in a chat now, or in one of its topics, from whomever."""
        found = list(self.chats.get(chat_id).messages.values())
        return [message for message in found if thread_id is None or message.thread_id == thread_id]

    def texts(self, chat_id: int | None = None) -> list[str]:
        """The texts of the bot's messages, in the order of sending, with edits, without what was deleted."""
        return [message.text for message in self.answers(chat_id)]

    def answers(self, chat_id: int | None = None) -> list[Message]:
        """The bot's messages in one chat or in all, in the order of sending, without what was deleted."""
        return [
            message for message in list(self.record.sent)
            if chat_id in (None, message.chat_id) and message.message_id in self.chats.get(message.chat_id).messages
        ]  # fmt: skip

    def draft(self, chat_id: int = 7, thread_id: int | None = None) -> Frame | None:
        """The draft that the person sees now."""
        return self.drafts.visible(chat_id, thread_id, self.clock.now())

    def wait_for(self, count: int, seconds: float = WAIT_SECONDS, chat_id: int | None = None) -> list[str]:
        """The bot's texts, once there are so many. Raises AssertionError after so many real seconds."""
        self.record.wait_until(lambda: len(self.texts(chat_id)) >= count, seconds, lambda: f"only {self.texts(chat_id)}")
        return self.texts(chat_id)

    # what the parts share

    def flood_next(self, seconds: int, method: str = "sendMessage", chat_id: int | None = None) -> None:
        """Answer the next call with flood control."""
        self.faults.next(faults.flood(seconds), method, chat_id)

    def carry_out(self, call: Call) -> Any:
        """The result of a call. Raises RefusedError."""
        with self.lock:
            return METHODS[call.method](self, call)

    def change_membership(self, chat: Chat, status: str, by: JsonObject) -> int | None:
        """The bot is let in, made administrator, thrown out or blocked; returns the number of the update."""
        with self.lock:
            old, chat.bot_status = chat.bot_status, status
            chat.closed = None if status in ("member", "administrator") else shut(chat, status)
            if chat.closed is not None:
                for key in [key for key in self.drafts.shown if key[0] == chat.id]:
                    del self.drafts.shown[key]
        body = {
            "chat": chat.description, "from": by, "date": int(time.time()),
            "old_chat_member": membership(old, self.me), "new_chat_member": membership(status, self.me),
        }  # fmt: skip
        return self.updates.put("my_chat_member", body)


def shut(chat: Chat, status: str) -> RefusedError:
    """Why the bot may not write to a chat where it has this status."""
    if chat.is_private:
        return RefusedError(403, "Forbidden: bot was blocked by the user")
    kind = "group" if chat.description["type"] == "group" else "supergroup"
    was = "was kicked from" if status == "kicked" else "is not a member of"
    return RefusedError(403, f"Forbidden: bot {was} the {kind} chat")


@contextlib.contextmanager
def started_bot_api(speed: float = 1.0) -> Iterator[BotApi]:
    """A Telegram that serves; `speed` seconds of its clock pass in one real second."""
    api = BotApi(speed)
    api.start()
    try:
        yield api
    finally:
        api.stop()
