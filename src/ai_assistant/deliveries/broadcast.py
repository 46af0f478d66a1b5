"""Broadcasting: a delivery without a task for everybody whom the channel can reach, written in one transaction.

Reached is a person with a private chat: one who owns a conversation, or to whom something was delivered, and who neither has
blocked the bot nor was forgotten. Telegram lets a bot write to nobody else. (People who are known from groups only are not.)
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.database.models import Broadcast
from ai_assistant.deliveries.targets import BROADCAST_LANE, PERSON
from ai_assistant.errors import IdempotencyMismatchError

FAN_OUT = text(
    """
    INSERT INTO deliveries (id, broadcast_id, user_id, channel, target, target_key, lane)
    SELECT gen_random_uuid(), :broadcast_id, person.id, :channel,
        jsonb_strip_nulls(jsonb_build_object('chat_id', key::bigint, 'language', settings -> 'language')), key, :lane
    FROM (
        SELECT id, settings, substr(external_id, length(:person) + 1) AS key FROM users
        WHERE external_id ~ ('^' || :person || '[1-9][0-9]{0,17}$')
    ) AS person
    WHERE (EXISTS (SELECT 1 FROM conversations WHERE user_id = person.id)
            OR EXISTS (SELECT 1 FROM deliveries WHERE channel = :channel AND target_key = key))
      AND NOT EXISTS (SELECT 1 FROM dead_targets WHERE channel = :channel AND target_key = key)
    ORDER BY key::bigint
    RETURNING id
    """
)


@dataclass(frozen=True)
class Made:
    """What became of an order."""

    targets: int
    is_repeat: bool


async def broadcast(session: AsyncSession, *, channel: str, message: str, key: str) -> Made:
    """Owe `message` to everybody; nothing for a key that was used before. Raises IdempotencyMismatchError for another text."""
    broadcast_id = uuid.uuid4()
    statement = insert(Broadcast).values(id=broadcast_id, channel=channel, key=key, text=message, targets=0)
    # an order that is repeated at the same moment waits here for the first one's commit
    statement = statement.on_conflict_do_nothing(index_elements=["channel", "key"])
    if await session.scalar(statement.returning(Broadcast.id)) is None:
        query = select(Broadcast).where(Broadcast.channel == channel, Broadcast.key == key)
        earlier = (await session.scalars(query)).one()
        if earlier.text != message:
            raise IdempotencyMismatchError("Another text was broadcast with this `key` already.")
        return Made(earlier.targets, is_repeat=True)
    values = {"broadcast_id": broadcast_id, "channel": channel, "lane": BROADCAST_LANE, "person": PERSON}
    targets = len(list(await session.scalars(FAN_OUT, values)))
    await session.execute(update(Broadcast).where(Broadcast.id == broadcast_id).values(targets=targets))
    return Made(targets, is_repeat=False)


async def texts_of(session: AsyncSession, broadcast_ids: set[uuid.UUID]) -> dict[uuid.UUID, str]:
    if not broadcast_ids:
        return {}
    rows = await session.execute(select(Broadcast.id, Broadcast.text).where(Broadcast.id.in_(broadcast_ids)))
    return {row.id: row.text for row in rows}
