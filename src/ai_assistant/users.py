"""Users: who a conversation belongs to. A user exists from the first request that names it."""

import uuid
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


async def find(session: AsyncSession, external_id: str) -> User | None:
    return await session.scalar(select(User).where(User.external_id == external_id))


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


async def export(session: AsyncSession, user: User) -> dict[str, Any]:
    """All that is stored about the user, as one JSON document."""
    conversations = await session.scalars(
        select(Conversation).where(Conversation.user_id == user.id).order_by(Conversation.created_at)
    )
    messages: dict[uuid.UUID, list[dict[str, Any]]] = {}
    rows = await session.scalars(select(Message).join(Conversation).where(Conversation.user_id == user.id).order_by(Message.seq))
    for message in rows:
        messages.setdefault(message.conversation_id, []).append(
            {
                "id": str(message.id),
                "parent_id": str(message.parent_id) if message.parent_id else None,
                "role": message.role,
                "text": message.text or "",
                "created_at": message.created_at.isoformat(),
            }
        )
    return {
        "user": {"id": user.external_id, "settings": user.settings, "created_at": user.created_at.isoformat()},
        "conversations": [
            {
                "id": str(conversation.id),
                "assistant": conversation.assistant,
                "title": conversation.title,
                "created_at": conversation.created_at.isoformat(),
                "messages": messages.get(conversation.id, []),
            }
            for conversation in conversations
        ],
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
