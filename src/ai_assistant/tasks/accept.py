"""Accepting a request: the user message, the answer's place and the task are written in one transaction."""

import datetime
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import TaskState
from ai_assistant.database.models import Conversation, Message, Task
from ai_assistant.errors import (
    ConversationNotFoundError,
    IdempotencyMismatchError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
)

IDEMPOTENCY_HOURS = 24
TITLE_CHARS = 60


@dataclass(frozen=True, kw_only=True)
class Submission:
    """All that a new task is made from. Either `messages` (no conversation), or a turn of a conversation."""

    assistant: str
    user_id: uuid.UUID
    principal: str
    deadline_seconds: float
    max_queued: int
    sampling: dict[str, Any] = field(default_factory=dict)
    author_id: uuid.UUID | None = None
    """Who wrote the message, where that is not the user."""
    instructions: str | None = None
    """All of them."""
    persona: str | None = None
    """The part of `instructions` that is not the assistant's."""
    request_id: str | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None
    message: str | None = None
    conversation_id: uuid.UUID | None = None
    regenerate_of: uuid.UUID | None = None
    edit_of: uuid.UUID | None = None
    messages: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Turn:
    """Where the new answer goes."""

    conversation: Conversation
    user_message_id: uuid.UUID


class DuplicateRequestError(Exception):
    """Another request with the same key was committed meanwhile: roll back and look it up."""


async def find_duplicate(session: AsyncSession, submission: Submission) -> Task | None:
    """The task that the same Idempotency-Key made within 24 h. Raises IdempotencyMismatchError for another body."""
    if submission.idempotency_key is None:
        return None
    same_key: tuple[ColumnElement[bool], ...] = (
        Task.principal == submission.principal,
        Task.idempotency_key == submission.idempotency_key,
    )
    task = await session.scalar(select(Task).where(*same_key))
    if task is None:
        return None
    if task.created_at < datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=IDEMPOTENCY_HOURS):
        await session.execute(update(Task).where(*same_key).values(idempotency_key=None))
        return None
    if task.fingerprint != submission.fingerprint:
        raise IdempotencyMismatchError
    return task


async def accept(session: AsyncSession, submission: Submission) -> Task:
    """Write the task. Raises DuplicateRequestError (see find_duplicate), NotFoundError, OverloadedError."""
    await check_capacity(session, submission)
    turn = await place_turn(session, submission) if submission.messages is None else None
    task_id = uuid.uuid4()
    answer_id = None
    if turn is not None:
        answer = Message(conversation_id=turn.conversation.id, parent_id=turn.user_message_id, role="assistant", task_id=task_id)
        session.add(answer)
        await session.flush()
        answer_id = answer.id
    sampling = dict(submission.sampling)
    if sampling.get("seed") is None:
        sampling["seed"] = secrets.randbits(63)
    statement = insert(Task).values(
        id=task_id,
        assistant=submission.assistant,
        user_id=submission.user_id,
        principal=submission.principal,
        request_id=submission.request_id,
        idempotency_key=submission.idempotency_key,
        fingerprint=submission.fingerprint,
        conversation_id=turn.conversation.id if turn else None,
        user_message_id=turn.user_message_id if turn else None,
        answer_message_id=answer_id,
        messages=submission.messages,
        author_id=submission.author_id,
        instructions=submission.instructions,
        persona=submission.persona,
        sampling=sampling,
        deadline=func.now() + text("make_interval(secs => :seconds)").bindparams(seconds=submission.deadline_seconds),
    )
    # parallel requests with one key wait here for the first one's commit
    statement = statement.on_conflict_do_nothing(
        index_elements=[Task.principal, Task.idempotency_key], index_where=Task.idempotency_key.is_not(None)
    )
    task = (await session.scalars(statement.returning(Task))).one_or_none()
    if task is None:
        raise DuplicateRequestError
    return task


async def check_capacity(session: AsyncSession, submission: Submission) -> None:
    """Refuse before anything is written when too many tasks wait."""
    queued = await session.scalar(
        select(func.count()).where(Task.assistant == submission.assistant, Task.state == TaskState.QUEUED)
    )
    if queued is not None and queued >= submission.max_queued:
        raise OverloadedError(f"{queued} requests are waiting for this assistant already; try again later.", retry_after=10)


async def place_turn(session: AsyncSession, submission: Submission) -> Turn:
    """Find or make the conversation and the user message that is answered."""
    if submission.regenerate_of is not None:
        return await place_regeneration(session, submission, submission.regenerate_of)
    if submission.message is None:
        raise InvalidRequestError("`message` is missing: say what the assistant should answer.")
    if submission.edit_of is not None:
        edited = await owned_message(session, submission, submission.edit_of, role="user")
        conversation = await lock_conversation(session, submission, edited.conversation_id)
        parent_id = edited.parent_id
    elif submission.conversation_id is not None:
        conversation = await lock_conversation(session, submission, submission.conversation_id)
        latest = select(Message.id).where(Message.conversation_id == conversation.id).order_by(Message.seq.desc()).limit(1)
        parent_id = await session.scalar(latest)
    else:
        conversation = Conversation(
            user_id=submission.user_id, assistant=submission.assistant, title=title_of(submission.message)
        )
        session.add(conversation)
        await session.flush()
        parent_id = None
    message = Message(
        conversation_id=conversation.id,
        parent_id=parent_id,
        author_id=submission.author_id,
        role="user",
        text=submission.message,
    )
    session.add(message)
    await session.flush()
    return Turn(conversation, message.id)


async def place_regeneration(session: AsyncSession, submission: Submission, answer_id: uuid.UUID) -> Turn:
    """A new answer to the same user message, beside the old one."""
    if submission.message is not None or submission.edit_of is not None:
        raise InvalidRequestError("`regenerate_of` answers an earlier message again: send it without `message` and `edit_of`.")
    answer = await owned_message(session, submission, answer_id, role="assistant")
    conversation = await lock_conversation(session, submission, answer.conversation_id)
    if answer.parent_id is None:
        raise InvalidRequestError("This answer has no question to answer again.")
    return Turn(conversation, answer.parent_id)


async def owned_message(session: AsyncSession, submission: Submission, message_id: uuid.UUID, *, role: str) -> Message:
    """Raises NotFoundError, also for another user's."""
    query = select(Message).join(Conversation).where(Message.id == message_id, Conversation.user_id == submission.user_id)
    message = await session.scalar(query)
    if message is None or message.role != role:
        raise NotFoundError(f"There is no {role} message {message_id}.")
    if submission.conversation_id not in (None, message.conversation_id):
        raise NotFoundError(f"Message {message_id} is not in conversation {submission.conversation_id}.")
    return message


async def lock_conversation(session: AsyncSession, submission: Submission, conversation_id: uuid.UUID) -> Conversation:
    """Turns of one conversation are accepted one after the other, so each knows its predecessor."""
    query = select(Conversation).where(Conversation.id == conversation_id, Conversation.user_id == submission.user_id)
    conversation = await session.scalar(query.with_for_update(of=Conversation))
    if conversation is None:
        raise ConversationNotFoundError(f"There is no conversation {conversation_id}.")
    if conversation.assistant != submission.assistant:
        raise InvalidRequestError(f"Conversation {conversation_id} is with the assistant {conversation.assistant!r}.")
    conversation.updated_at = await session.scalar(select(func.now()))  # type: ignore[assignment]
    return conversation


def title_of(message: str) -> str:
    """A conversation's first title: the beginning of its first message, on one line."""
    line = " ".join(message.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"
