"""Users: who a conversation belongs to. A user exists from the first request that names it."""

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.database.models import Conversation, Message, Task, User


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


async def unfinished_tasks(session: AsyncSession, user: User) -> list[uuid.UUID]:
    """Tasks that have to be cancelled before the user is forgotten."""
    query = select(Task.id).where(Task.user_id == user.id, Task.state.in_(("queued", "running")))
    return list(await session.scalars(query))


async def exported_ids(session: AsyncSession, user: User) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """What an export of the user's data consists of: ids of conversations, and of tasks outside of any."""
    conversations = select(Conversation.id).where(Conversation.user_id == user.id).order_by(Conversation.created_at)
    single = select(Task.id).where(Task.user_id == user.id, Task.messages.is_not(None)).order_by(Task.seq)
    return list(await session.scalars(conversations)), list(await session.scalars(single))


async def export_conversation(session: AsyncSession, conversation_id: uuid.UUID) -> dict[str, Any] | None:
    """A conversation with all its messages, as JSON; None if it has been deleted meanwhile."""
    conversation = await session.get(Conversation, conversation_id)
    if conversation is None:
        return None
    rows = await session.scalars(select(Message).where(Message.conversation_id == conversation_id).order_by(Message.seq))
    return {
        "id": str(conversation.id),
        "assistant": conversation.assistant,
        "title": conversation.title,
        "created_at": conversation.created_at.isoformat(),
        "messages": [
            {
                "id": str(message.id),
                "parent_id": str(message.parent_id) if message.parent_id else None,
                "role": message.role,
                "text": message.text or "",
                "created_at": message.created_at.isoformat(),
            }
            for message in rows
        ],
    }


async def export_task(session: AsyncSession, task_id: uuid.UUID) -> dict[str, Any] | None:
    """A request that brought its own messages, with its answer, as JSON; None if it has been deleted meanwhile."""
    task = await session.get(Task, task_id)
    if task is None:
        return None
    return {
        "id": str(task.id),
        "assistant": task.assistant,
        "messages": task.messages,
        "answer": task.checkpoint_text,
        "created_at": task.created_at.isoformat(),
    }


async def forget(session: AsyncSession, user: User) -> int:
    """Delete the user with all conversations, messages and tasks. Returns the number of messages that went."""
    count = await session.scalar(
        select(func.count()).select_from(Message).join(Conversation).where(Conversation.user_id == user.id)
    )
    # a running task's worker finds its row gone and stops, as for a superseded attempt
    await session.execute(update(Task).where(Task.user_id == user.id).values(cancel_requested=True))
    await session.execute(delete(User).where(User.id == user.id))
    return count or 0
