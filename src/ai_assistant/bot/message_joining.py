"""Joining: what Telegram's apps cut at 4,096 becomes one message again.

A text of SPLIT_UNITS or more may have a rest, which comes within moments as the same person's next message in the same place.
Updates that belong together are confirmed together and only after they were handed over, so a killed bot loses no part:
whoever reads updates (long polling, webhook) holds an open group for PATIENCE_SECONDS and joins again with what came meanwhile.
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiogram.types import Message, MessageEntity, Update

MAX_UNITS = 4096
"""UTF-16 code units that Telegram allows in a message."""

SPLIT_UNITS = 4000
"""From here on there may be a rest: apps cut at the last line or word that fits."""

PATIENCE_SECONDS = 1.0
"""How long whoever reads updates waits for the rest."""

MAX_GAP = datetime.timedelta(seconds=3)
"""Between two parts. Telegram's dates are whole seconds, and a part takes its time on a bad network."""

BARE_COMMAND = re.compile(r"/\w{1,32}(@\w+)?")


@dataclass(frozen=True, slots=True)
class Group:
    """Updates that are one message."""

    parts: tuple[Update, ...]
    """As they came, never empty."""
    is_open: bool
    """A rest may still come."""

    @property
    def update(self) -> Update:
        """The one to be handled: the first, with the text of all."""
        return joined(self.parts)

    @property
    def update_ids(self) -> tuple[int, ...]:
        """To be confirmed together."""
        return tuple(part.update_id for part in self.parts)


def join_splits(updates: Sequence[Update]) -> list[Group]:
    """Every update in exactly one group, ordered by the groups' first updates."""
    groups: list[list[Update]] = []
    open_groups: dict[tuple[int, ...], list[Update]] = {}
    for update in updates:
        writer = writer_of(update)
        group = open_groups.pop(writer, None) if writer is not None else None
        if group is not None and is_rest(group[-1].message, update.message):
            group.append(update)
        else:
            group = [update]
            groups.append(group)
        if writer is not None and may_have_rest(update.message):
            open_groups[writer] = group
    still_open = {id(group) for group in open_groups.values()}
    return [Group(tuple(group), id(group) in still_open) for group in groups]


def joined(parts: Sequence[Update]) -> Update:
    """One update with the id of the first and the text and entities of all."""
    first = parts[0]
    if len(parts) == 1 or first.message is None:
        return first
    text, before, entities = "", "", list[MessageEntity]()
    for part in parts:
        message = part.message
        if message is None or message.text is None:
            continue
        text += separator(before)
        offset = units(text)
        entities += [entity.model_copy(update={"offset": entity.offset + offset}) for entity in message.entities or ()]
        text += message.text
        before = message.text
    return first.model_copy(update={"message": first.message.model_copy(update={"text": text, "entities": entities or None})})


def separator(before: str) -> str:
    """For what Telegram took away after the part `before`: nothing where it is full, else white space that was at its end."""
    return "\n" if before and units(before) < MAX_UNITS else ""


def writer_of(update: Update) -> tuple[int, ...] | None:
    """Who writes where; None for what is not a message."""
    message = update.message
    if message is None:
        return None
    writer = message.sender_chat or message.from_user
    return message.chat.id, message.message_thread_id or 0, writer.id if writer else 0


def may_have_rest(message: Message | None) -> bool:
    return message is not None and message.text is not None and units(message.text) >= SPLIT_UNITS


def is_rest(before: Message | None, message: Message | None) -> bool:
    """Whether `message` goes on with the text of the same person's message `before`."""
    if before is None or message is None or message.text is None or not may_have_rest(before):
        return False
    if BARE_COMMAND.fullmatch(message.text) or (message.forward_origin is None) != (before.forward_origin is None):
        return False
    return message.message_id > before.message_id and message.date - before.date <= MAX_GAP


def units(text: str) -> int:
    """Length as Telegram counts it: UTF-16 code units."""
    return len(text.encode("utf-16-le")) // 2
