"""Where a conversation lives: every private chat, topic and group has one of its own, noted in the owner's settings."""

from dataclasses import dataclass
from typing import Any

from aiogram.types import Message

from ai_assistant.bot.mentions import is_group


@dataclass(frozen=True, slots=True)
class Place:
    """A chat, or a topic of it."""

    chat_id: int
    thread_id: int | None = None
    is_group: bool = False

    @classmethod
    def of(cls, message: Message) -> "Place":
        # groups without topics number their threads of replies as well: those are no places of their own
        thread_id = message.message_thread_id if message.is_topic_message else None
        return cls(message.chat.id, thread_id, is_group(message))

    @property
    def setting(self) -> str:
        """The key in the owner's settings."""
        return f"conversation:{self.chat_id}" + (f":{self.thread_id}" if self.thread_id is not None else "")


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is noted of one. Nobody is named in it: groups' settings outlive people's."""

    id: str
    assistant: str | None = None
    """That was chosen when it began; None for the default one."""
    is_shared: bool = False
    """Several people have written, so questions carry names."""

    @classmethod
    def read(cls, settings: dict[str, Any], place: Place) -> "Conversation | None":
        """The place's conversation; None where there is none, or an assistant was chosen that it is not with."""
        noted = settings.get(place.setting)
        if isinstance(noted, str):
            noted = {"id": noted}
        if not isinstance(noted, dict) or not isinstance(noted.get("id"), str):
            return None
        found = cls(noted["id"], noted.get("assistant"), bool(noted.get("is_shared")))
        return found if found.assistant == settings.get("assistant") else None

    def to_json(self) -> dict[str, Any]:
        noted: dict[str, Any] = {"id": self.id}
        if self.assistant is not None:
            noted["assistant"] = self.assistant
        if self.is_shared:
            noted["is_shared"] = True
        return noted
