"""Who a message is for, and what it asks: pure functions of the message.

In a private chat everything is for the bot. In a group it is what mentions the bot, replies to one of its messages or is a
command addressed to it; the rest is nobody's business, and nothing of it leaves the bot.
"""

from dataclasses import dataclass

from aiogram.enums import ChatType, MessageEntityType
from aiogram.types import Message, MessageEntity, User

QUOTE_CHARS = 1000
"""Of the message that a question refers to."""

NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class Question:
    """What a message asks."""

    text: str
    """Without the mention; empty where there is nothing else."""
    quote: str = ""
    """What it refers to, ready to be put in front."""
    name: str = ""
    """Of who asks; empty in private chats."""

    def written(self, *, with_name: bool) -> str:
        """As the assistant reads it."""
        said = f"{self.name}: {self.text}" if with_name and self.name and self.text else self.text
        return "\n\n".join(part for part in (self.quote, said) if part)


def is_group(message: Message) -> bool:
    return message.chat.type in (ChatType.GROUP, ChatType.SUPERGROUP)


def is_for_bot(message: Message, me: User) -> bool:
    """Whether the bot is spoken to."""
    command = command_of(message)
    addressee = command.partition("@")[2].lower() if command else ""
    if addressee and addressee != (me.username or "").lower():
        return False
    if message.chat.type == ChatType.PRIVATE:
        return True
    if not is_group(message) or is_from_bot(message):
        return False
    return bool(addressee) or any(is_mention(message, entity, me) for entity in entities_of(message)) or replies_to(message, me)


def may_concern_bot(message: Message, me: User) -> bool:
    """Also commands that name nobody: what is worth looking up who writes."""
    command = command_of(message)
    return is_for_bot(message, me) or (command is not None and "@" not in command and not is_from_bot(message))


def question_of(message: Message, me: User) -> Question:
    """The text without mentions of the bot, what it refers to, and who asks."""
    return Question(text_of(message, me), quote_of(message, me), name_of(message) if is_group(message) else "")


def command_of(message: Message) -> str | None:
    """The command that a message begins with, as it is written: `/new@some_bot`."""
    first = next(iter(entities_of(message)), None)
    if first is None or first.type != MessageEntityType.BOT_COMMAND or first.offset != 0:
        return None
    return first.extract_from(words_of(message))


def text_of(message: Message, me: User) -> str:
    """The message's text or caption without what only says that the bot is meant."""
    text = words_of(message)
    encoded = text.encode("utf-16-le")
    result, position = "", 0
    for entity in entities_of(message):
        begin, end = entity.offset, entity.offset + entity.length
        if begin < position:
            continue
        if entity.type == MessageEntityType.BOT_COMMAND and begin == 0:
            begin += len(entity.extract_from(text).partition("@")[0])  # ASCII: as many units as characters
        elif not is_mention(message, entity, me):
            continue
        result = without_gap(result, encoded[2 * position : 2 * begin].decode("utf-16-le"))
        position = end
    return without_gap(result, encoded[2 * position :].decode("utf-16-le")).strip() if position else text.strip()


def without_gap(before: str, after: str) -> str:
    """Put together what stood around a mention."""
    if not before.strip():
        return before + after.lstrip(" \t\n,:;")
    if after[:1] == "," and before.rstrip().endswith(","):
        return before.rstrip() + after[1:]
    if before[-1].isspace() and after[:1] in (" ", ""):
        return before + after[1:]
    if after[:1] in tuple(",.!?;:"):
        return before.rstrip(" ") + after
    return before + after


def quote_of(message: Message, me: User) -> str:
    """What the message points at, if the conversation does not hold it anyway: a marked passage, or somebody else's message."""
    replied = message.reply_to_message
    if replied is not None and replied.forum_topic_created is not None:
        replied = None  # every message of a topic replies to the topic's beginning
    passage = message.quote.text if message.quote is not None and message.quote.is_manual else ""
    if not passage and is_group(message) and replied is not None and not replies_to(message, me):
        passage = replied.text or replied.caption or ""
    passage = passage.strip()
    if not passage:
        return ""
    if len(passage) > QUOTE_CHARS:
        passage = passage[: QUOTE_CHARS - 1].rstrip() + "…"
    lines = "\n".join(f"> {line}".rstrip() for line in passage.splitlines())
    name = name_of(replied) if replied is not None and is_group(message) and not replies_to(message, me) else ""
    return f"{name}:\n{lines}" if name else lines


def name_of(message: Message) -> str:
    """Of who wrote it, on one line."""
    if message.sender_chat is not None:
        name = message.sender_chat.title or ""
    else:
        name = message.from_user.first_name if message.from_user else ""
    return " ".join(name.split())[:NAME_CHARS]


def replies_to(message: Message, me: User) -> bool:
    """Whether it replies to a message of the bot's. (A topic's beginning is none.)"""
    replied = message.reply_to_message
    if replied is None or replied.forum_topic_created is not None or replied.from_user is None:
        return False
    return replied.from_user.id == me.id


def is_mention(message: Message, entity: MessageEntity, me: User) -> bool:
    if entity.type == MessageEntityType.TEXT_MENTION:
        return entity.user is not None and entity.user.id == me.id
    if entity.type == MessageEntityType.MENTION:
        return entity.extract_from(words_of(message)).lower() == f"@{me.username}".lower()
    return False


def is_from_bot(message: Message) -> bool:
    """Bots that answer each other never stop. (Who writes as a group or channel is a person behind a bot's account.)"""
    return message.from_user is not None and message.from_user.is_bot and message.sender_chat is None


def words_of(message: Message) -> str:
    return message.text or message.caption or ""


def entities_of(message: Message) -> list[MessageEntity]:
    return sorted(message.entities or message.caption_entities or [], key=lambda entity: entity.offset)
