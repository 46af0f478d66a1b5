"""Who writes, and in whose name: what handlers know of a person and of the chat, read from the gateway once per update.

In a private chat both are the same user of the gateway (`tg:42`). A group has a user of its own (`tg-chat:-100123`), which
owns the group's conversations and settings.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Profile:
    """Handlers get one as `profile`."""

    person: str
    """The gateway's user for whoever wrote."""
    owner: str
    """The gateway's user that owns the chat's conversations and settings."""
    language: str
    """One of `texts.LANGUAGES`: what the owner chose, else what Telegram says of the person."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The owner's, as they were when the update came."""
    is_admin: bool = False
