"""Users: who a conversation belongs to. A user exists from the first request that names it."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.database.models import Conversation, DeadTarget, Delivery, Message, Task, User

USAGE = text(
    """
    SELECT
        (SELECT count(*) FROM messages WHERE role = 'user' AND (author_id = :user_id
            OR conversation_id IN (SELECT id FROM conversations WHERE user_id = :user_id))),
        count(*) FILTER (WHERE state = 'succeeded'),
        coalesce(sum(prompt_tokens), 0)::bigint, coalesce(sum(completion_tokens), 0)::bigint,
        (SELECT count(*) FROM conversations WHERE user_id = :user_id)
    FROM tasks WHERE user_id = :user_id OR author_id = :user_id
    """
)

TOTALS = text(
    """
    SELECT count(*) FILTER (WHERE NOT is_group AND NOT is_bot), count(*) FILTER (WHERE is_group),
        (SELECT count(DISTINCT coalesce(author_id, user_id)) FROM tasks JOIN users ON users.id = coalesce(author_id, user_id)
            WHERE tasks.created_at > now() - interval '24 hours' AND external_id NOT LIKE 'tg-chat:%')
    FROM (SELECT external_id LIKE 'tg-chat:%' AS is_group, external_id LIKE 'tg-bot:%' AS is_bot FROM users) AS kinds
    """
)

AUTHORED = text(
    """
    SELECT id FROM messages WHERE author_id = :user_id
    UNION
    SELECT answer.id FROM messages AS answer JOIN messages AS question ON question.id = answer.parent_id
    WHERE question.author_id = :user_id AND answer.role = 'assistant'
    """
)

JOIN_ROUND = text(
    """
    WITH RECURSIVE gone AS (SELECT id, parent_id FROM messages WHERE id = ANY(CAST(:gone AS uuid[]))),
    line AS (
        SELECT child.id, gone.parent_id AS ancestor FROM messages AS child JOIN gone ON gone.id = child.parent_id
        WHERE NOT EXISTS (SELECT 1 FROM gone AS other WHERE other.id = child.id)
        UNION ALL
        SELECT line.id, gone.parent_id FROM line JOIN gone ON gone.id = line.ancestor
    )
    UPDATE messages SET parent_id = ancestor FROM line
    WHERE messages.id = line.id AND NOT EXISTS (SELECT 1 FROM gone WHERE gone.id = ancestor)
    """
)
"""The others' turns stand on the nearest of their ancestors that stays."""

RETITLE = text(
    """
    UPDATE conversations SET title = ''
    WHERE id IN (SELECT conversation_id FROM messages WHERE id = ANY(CAST(:gone AS uuid[])) AND parent_id IS NULL)
    """
)
"""A title is the beginning of the first message."""

ERASE = text("DELETE FROM messages WHERE id = ANY(CAST(:gone AS uuid[]))")


async def get_or_create(session: AsyncSession, external_id: str) -> User:
    """The user named `external_id`, made now if there is none."""
    user = await session.scalar(select(User).where(User.external_id == external_id))
    if user is not None:
        return user
    # two first requests at once: the second one finds the first one's row
    statement = insert(User).values(id=uuid.uuid4(), external_id=external_id)
    statement = statement.on_conflict_do_update(index_elements=[User.external_id], set_={"external_id": external_id})
    return (await session.scalars(statement.returning(User))).one()


async def hold(session: AsyncSession, external_id: str) -> User:
    """Like `get_or_create`, and until the end of the transaction nobody forgets this user. Call it before anything else is
    locked: forgetting takes the user first, and then what belongs to it."""
    while True:
        user = await get_or_create(session, external_id)
        query = select(User).where(User.id == user.id).with_for_update(read=True, key_share=True)
        if (held := await session.scalar(query)) is not None:
            return held


async def find(session: AsyncSession, external_id: str) -> User | None:
    return await session.scalar(select(User).where(User.external_id == external_id))


async def names(session: AsyncSession, user_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """External ids."""
    rows = await session.execute(select(User.id, User.external_id).where(User.id.in_(user_ids)))
    return {row.id: row.external_id for row in rows}


async def update_settings(session: AsyncSession, user: User, settings: dict[str, Any]) -> User:
    """Merge `settings` into the user's; a value None removes its key."""
    merged = {**user.settings, **settings}
    user.settings = {key: value for key, value in merged.items() if value is not None}
    await session.flush()
    return user


@dataclass(frozen=True)
class Usage:
    """What a user has asked for, in their own conversations and in groups; a group's is all that was asked in it."""

    messages: int
    answers: int
    prompt_tokens: int
    completion_tokens: int
    conversations: int


async def usage(session: AsyncSession, user: User) -> Usage:
    return Usage(*(await session.execute(USAGE, {"user_id": user.id})).one())


@dataclass(frozen=True)
class Totals:
    """How many use the platform."""

    people: int
    groups: int
    active_people: int
    """Who have asked something within 24 h."""


async def totals(session: AsyncSession) -> Totals:
    return Totals(*(await session.execute(TOTALS)).one())


def wrote(user: User) -> ColumnElement[bool]:
    """Tasks in conversations of others (groups) that the user has asked for, or that answer what the user wrote."""
    mine = select(Message.id).where(Message.author_id == user.id)
    return or_(Task.author_id == user.id, Task.user_message_id.in_(mine))


async def lock_conversations(session: AsyncSession, user: User) -> None:
    """A message that is being accepted right now where the user has written comes before what follows, or after it."""
    where = select(Message.conversation_id).where(Message.author_id == user.id)
    query = select(Conversation.id).where(Conversation.id.in_(where)).order_by(Conversation.id)
    await session.execute(query.with_for_update())


async def forget(session: AsyncSession, user: User, target_key: str | None) -> int:
    """Delete the user with everything, and what goes to `target_key`, the user's own chat. Returns the number of messages."""
    own = select(func.count()).select_from(Message).join(Conversation).where(Conversation.user_id == user.id)
    count = await session.scalar(own) or 0
    count += await erase_authored(session, user)
    for table in (Delivery, DeadTarget):
        await session.execute(delete(table).where(table.channel == "telegram", table.target_key == target_key))
    await session.execute(delete(User).where(User.id == user.id))
    return count


async def erase_authored(session: AsyncSession, user: User) -> int:
    """What the user wrote in conversations of others, and the answers to it. Turns of others that came after are joined to what
    was before. Returns the number of messages that went."""
    # a running task's worker finds its row gone and stops, as for a superseded attempt
    await session.execute(delete(Task).where(wrote(user)))
    gone = list(await session.scalars(AUTHORED, {"user_id": user.id}))
    if gone:
        for statement in (RETITLE, JOIN_ROUND, ERASE):
            await session.execute(statement, {"gone": gone})
    return len(gone)
