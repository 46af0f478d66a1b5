"""Groups and forums: their members and topics, the bot's place in them, and their upgrade to a supergroup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from telegram.bot_profile import membership
from telegram.calls import bad_request
from telegram.chats import JsonObject
from telegram.people import Person, open_topic, told

if TYPE_CHECKING:
    from telegram.api import BotApi


class Group:
    """A group, supergroup or forum with the bot in it."""

    def __init__(self, api: BotApi, chat_id: int, members: Sequence[Person], title: str, kind: str, forum: bool) -> None:
        assert chat_id < 0, "numbers of groups are negative"
        assert kind in ("group", "supergroup"), kind
        assert not forum or kind == "supergroup", "only supergroups have topics"
        assert chat_id not in api.chats.found, f"the chat {chat_id} exists"
        self.api = api
        self.id = chat_id
        self.owner = members[0]
        description: JsonObject = {"id": chat_id, "type": kind, "title": title}
        self.chat = api.chats.open(description | ({"is_forum": True} if forum else {}))
        for member in members:
            self.chat.members[member.id] = membership("creator" if member is self.owner else "member", member.user)
        self.chat.bot_status = "left"
        api.change_membership(self.chat, "member", self.owner.user)

    def joins(self, person: Person, *, admin: bool = False) -> None:
        """A member more; the bot reads of it in the chat."""
        self.chat.members[person.id] = membership("administrator" if admin else "member", person.user)
        told(self.api, self.chat, person.user, content={"new_chat_members": [person.user]})

    def leaves(self, person: Person) -> None:
        self.chat.members[person.id] = membership("left", person.user)
        told(self.api, self.chat, person.user, content={"left_chat_member": person.user})

    def topic(self, name: str = "Topic") -> int:
        """Open a topic of a forum; returns its thread id."""
        assert self.chat.is_forum, "only forums have topics"
        return open_topic(self.api, self.chat, self.owner.user, name)

    def deletes_topic(self, thread_id: int) -> None:
        """The topic and all that is in it; bots are not told, their calls get "message thread not found"."""
        with self.api.lock:
            del self.chat.topics[thread_id]
            for number in [message.message_id for message in self.chat.messages.values() if message.thread_id == thread_id]:
                del self.chat.messages[number]

    def kicks_bot(self) -> None:
        self.api.change_membership(self.chat, "kicked", self.owner.user)

    def adds_bot(self, *, admin: bool = False) -> None:
        self.api.change_membership(self.chat, "administrator" if admin else "member", self.owner.user)

    def upgrades(self, chat_id: int = -1001) -> Group:
        """Become a supergroup with another id; calls to the old one are told the new. Returns the supergroup."""
        assert self.chat.description["type"] == "group", "only groups become supergroups"
        people = [self.api.people[number] for number in self.chat.members if number != self.owner.id]
        with self.api.lock:
            new = Group(self.api, chat_id, [self.owner, *people], self.chat.description["title"], "supergroup", False)
            told(self.api, self.chat, self.owner.user, content={"migrate_to_chat_id": chat_id})
            told(self.api, new.chat, self.owner.user, content={"migrate_from_chat_id": self.id})
            reason = "group chat was upgraded to a supergroup chat"
            self.chat.closed = bad_request(reason, migrate_to_chat_id=chat_id)
        return new
