"""Which commands there are, and how one is recognised in a message."""

import re

from aiogram.types import Message

PRIVATE = ("new", "stop", "retry", "settings", "stats", "privacy", "export", "forget_me", "help")
GROUP = ("new", "stop", "retry", "settings", "help")
ADMIN = ("allow", "deny", "broadcast")
HIDDEN = ("start",)
"""Works, and is in no menu: Telegram has a button for it."""

COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@(\w+))?(?:\s|$)")
"""What Telegram takes for one; `/usr/bin` is none."""


def command_name(message: Message) -> str | None:
    """`new` for `/new@some_bot now`."""
    match = COMMAND.match(message.text or message.caption or "")
    return match[1].lower() if match else None


def argument(message: Message) -> str:
    """What follows the command."""
    text = message.text or message.caption or ""
    match = COMMAND.match(text)
    return text[match.end() :].strip() if match else ""
