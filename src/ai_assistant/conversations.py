"""Conversations and the line of messages that an answer is made from."""

import datetime
import uuid
from typing import Any

from sqlalchemy import delete, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import UNFINISHED
from ai_assistant.database.models import Conversation, Message, Task
from ai_assistant.errors import ConversationNotFoundError

MAX_LINE = 1000
"""Messages that are looked at for one prompt; no context window holds more turns."""

LINE = text(
    """
    WITH RECURSIVE line AS (
        SELECT id, parent_id, role, text, completion_ids, tokenizer, 0 AS depth FROM messages WHERE id = :message_id
        UNION ALL
        SELECT parent.id, parent.parent_id, parent.role, parent.text, parent.completion_ids, parent.tokenizer, depth + 1
        FROM messages AS parent JOIN line ON parent.id = line.parent_id WHERE depth < :max_line
    )
    SELECT role, text, completion_ids, tokenizer FROM line ORDER BY depth DESC
    """
)


async def line_to(session: AsyncSession, message_id: uuid.UUID) -> list[dict[str, Any]]:
    """The messages from the first one to `message_id`, as {role, content, completion_ids, tokenizer}."""
    rows = await session.execute(LINE, {"message_id": message_id, "max_line": MAX_LINE})
    return [
        {"role": row.role, "content": row.text or "", "completion_ids": row.completion_ids, "tokenizer": row.tokenizer}
        for row in rows
    ]


async def find(session: AsyncSession, conversation_id: uuid.UUID, user_id: uuid.UUID) -> Conversation:
    """Raises ConversationNotFoundError, also for another user's."""
    query = select(Conversation).where(Conversation.id == conversation_id, Conversation.user_id == user_id)
    conversation = await session.scalar(query)
    if conversation is None:
        raise ConversationNotFoundError(f"There is no conversation {conversation_id}.")
    return conversation


async def list_page(
    session: AsyncSession, user_id: uuid.UUID, *, after: tuple[datetime.datetime, uuid.UUID] | None, limit: int
) -> list[Conversation]:
    """Newest first; `after` is (updated_at, id) of the last one on the page before."""
    query = select(Conversation).where(Conversation.user_id == user_id)
    if after is not None:
        query = query.where(tuple_(Conversation.updated_at, Conversation.id) < after)
    query = query.order_by(Conversation.updated_at.desc(), Conversation.id.desc()).limit(limit)
    return list(await session.scalars(query))


async def messages_of(session: AsyncSession, conversation_id: uuid.UUID) -> list[tuple[Message, Task | None]]:
    """All branches in order of creation, each answer with its task."""
    query = (
        select(Message, Task)
        .outerjoin(Task, Task.id == Message.task_id)
        .where(Message.conversation_id == conversation_id)
        .order_by(Message.seq)
    )
    return [(message, task) for message, task in await session.execute(query)]


async def unfinished_tasks(session: AsyncSession, conversation_id: uuid.UUID) -> list[uuid.UUID]:
    """Tasks to cancel before the conversation is deleted."""
    query = select(Task.id).where(Task.conversation_id == conversation_id, Task.state.in_(UNFINISHED))
    return list(await session.scalars(query))


async def rename(session: AsyncSession, conversation: Conversation, title: str) -> None:
    await session.execute(update(Conversation).where(Conversation.id == conversation.id).values(title=title))
    conversation.title = title


async def remove(session: AsyncSession, conversation: Conversation) -> None:
    """Delete the conversation with its messages; its tasks stay as accounting, without text."""
    await session.execute(
        update(Task).where(Task.conversation_id == conversation.id).values(checkpoint_text="", checkpoint_ids=None, logprobs=None)
    )
    await session.execute(delete(Conversation).where(Conversation.id == conversation.id))
