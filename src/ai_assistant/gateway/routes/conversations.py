"""Conversations: list, read, rename, delete."""

import asyncio
import base64
import datetime
import uuid
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant import conversations, users
from ai_assistant.contracts import CANCELLING, TaskState
from ai_assistant.database.models import Conversation, Message, Task
from ai_assistant.errors import ConversationNotFoundError, InvalidRequestError
from ai_assistant.gateway import markdown
from ai_assistant.gateway.dependencies import State, UserId
from ai_assistant.gateway.erasure import announce, cancel_all
from ai_assistant.gateway.schemas import (
    ConversationList,
    ConversationPatch,
    ConversationSummary,
    ConversationView,
    ErrorBody,
    MessageView,
)
from ai_assistant.gateway.state import AppState

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


@router.get("")
async def list_conversations(
    state: State,
    user_id: UserId,
    after: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> ConversationList:
    """The user's conversations, the one with the latest message first."""
    position = read_cursor(after) if after else None
    async with state.database.session() as session:
        user = await users.find(session, user_id)
        found = await conversations.list_page(session, user.id, after=position, limit=limit + 1) if user else []
    page = found[:limit]
    following = write_cursor(page[-1]) if len(found) > limit else None
    return ConversationList(conversations=[summary(item) for item in page], next=following)


@router.get("/{conversation_id}")
async def read_conversation(
    state: State,
    user_id: UserId,
    conversation_id: uuid.UUID,
    html: Annotated[bool, Query(description="Answers also as safe HTML.")] = False,
) -> ConversationView:
    """A conversation with all its messages; an answer that is being written is told as far as it goes."""
    async with state.database.session() as session:
        conversation = await find(session, user_id, conversation_id)
        rows = await conversations.messages_of(session, conversation_id)
    texts = [await text_of(state, message, task) for message, task in rows]
    messages = [view(message, task, text) for (message, task), text in zip(rows, texts, strict=True)]
    if html:
        # long conversations take a while: not on the loop that carries everybody's streams
        await asyncio.to_thread(add_html, messages)
    return ConversationView(**summary(conversation).model_dump(), messages=messages)


@router.patch("/{conversation_id}")
async def rename_conversation(
    state: State, user_id: UserId, conversation_id: uuid.UUID, body: ConversationPatch
) -> ConversationSummary:
    """Give a conversation another title."""
    async with state.database.session() as session:
        conversation = await find(session, user_id, conversation_id)
        await conversations.rename(session, conversation, body.title)
    return summary(conversation)


@router.delete("/{conversation_id}", status_code=204)
async def delete_conversation(state: State, user_id: UserId, conversation_id: uuid.UUID) -> None:
    """Delete a conversation with its messages; answers that are being written are cancelled."""
    async with state.database.session() as session:
        conversation = await find(session, user_id, conversation_id)
        # a message that is being accepted right now comes before the deletion, or finds nothing
        await session.execute(select(Conversation.id).where(Conversation.id == conversation_id).with_for_update())
        erasure = await cancel_all(session, Task.conversation_id == conversation_id)
        await conversations.remove(session, conversation)
    await announce(state.redis, erasure)


async def find(session: AsyncSession, user_id: str, conversation_id: uuid.UUID) -> Conversation:
    """Raises ConversationNotFoundError, also for another user's."""
    user = await users.find(session, user_id)
    if user is None:
        raise ConversationNotFoundError(f"There is no conversation {conversation_id}.")
    return await conversations.find(session, conversation_id, user.id)


async def text_of(state: AppState, message: Message, task: Task | None) -> str:
    """What there is of a message."""
    if message.text is not None:
        return message.text
    if task is None:
        return ""
    if task.state != TaskState.RUNNING:
        return task.checkpoint_text
    return await state.hub.text_so_far(task)


def view(message: Message, task: Task | None, text: str) -> MessageView:
    asked_to_stop = task is not None and task.state == TaskState.RUNNING and task.cancel_requested
    return MessageView(
        id=message.id,
        parent_id=message.parent_id,
        role=message.role,
        text=text,
        html=None,
        task_id=message.task_id,
        status=None if task is None else CANCELLING if asked_to_stop else task.state,
        finish_reason=task.finish_reason if task else None,
        error=ErrorBody(**task.error) if task and task.error else None,
        created_at=message.created_at,
    )


def add_html(messages: list[MessageView]) -> None:
    for message in messages:
        if message.role == "assistant":
            message.html = markdown.render(message.text)


def summary(conversation: Conversation) -> ConversationSummary:
    return ConversationSummary.model_validate(conversation, from_attributes=True)


def write_cursor(last: Conversation) -> str:
    """Where the next page begins; opaque to clients."""
    return base64.urlsafe_b64encode(f"{last.updated_at.isoformat()} {last.id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime.datetime, uuid.UUID]:
    """Raises InvalidRequestError."""
    try:
        moment, _, identifier = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
        return datetime.datetime.fromisoformat(moment).astimezone(datetime.UTC), uuid.UUID(identifier)
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError("`after` is not the `next` of an earlier page.") from error
