"""Whom a channel's targets belong to. Telegram's chats and users have the same ids in private chats; a group has its own user."""

PERSON = "tg:"
GROUP = "tg-chat:"
BROADCAST_LANE = "broadcast"
"""After all answers, and in an order of its own."""


def group_name(chat_id: int) -> str:
    """The user that a group's conversations and settings belong to."""
    return f"{GROUP}{chat_id}"


def target_key_of(user: str) -> str | None:
    """The target that is the user's own chat; None for users of other origins."""
    for prefix in (PERSON, GROUP):
        if user.startswith(prefix) and user.removeprefix(prefix).removeprefix("-").isdigit():
            return user.removeprefix(prefix)
    return None
