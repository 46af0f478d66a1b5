"""Finishing: one transaction writes the answer, the usage and the final state, guarded by the attempt."""

import json
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import FinishReason, TaskState

DELETED = "(tasks.user_message_id IS NOT NULL AND tasks.conversation_id IS NULL)"
"""The task's conversation was deleted: the row stays as accounting, without text."""

FINISH = text(
    f"""
    UPDATE tasks SET
        -- a conversation that was deleted meanwhile counts as cancelled
        state = CASE WHEN {DELETED} THEN 'cancelled' ELSE :state END,
        finish_reason = :finish_reason, error = CAST(:error AS jsonb),
        checkpoint_ids = CASE WHEN NOT {DELETED} THEN CAST(:ids AS int[]) END,
        checkpoint_text = CASE WHEN {DELETED} THEN '' ELSE :answer END,
        tokenizer = :tokenizer, prompt_tokens = coalesce(:prompt_tokens, prompt_tokens),
        completion_tokens = CAST(:completion_tokens AS int),
        logprobs = CASE WHEN NOT {DELETED} THEN CAST(:logprobs AS jsonb) END, lease_until = NULL, lost_at = NULL,
        first_token_at = coalesce(first_token_at, CASE WHEN CAST(:completion_tokens AS int) > 0 THEN clock_timestamp() END),
        finished_at = clock_timestamp()
    WHERE id = :id AND attempt = :attempt AND state = 'running'
    RETURNING conversation_id, answer_message_id, state
    """  # noqa: S608 - the inserted part is this module's constant
)

WRITTEN = text(
    f"""
    SELECT conversation_id, state FROM tasks
    WHERE id = :id AND attempt = :attempt AND finished_at IS NOT NULL AND finish_reason IS NOT DISTINCT FROM :finish_reason
      AND completion_tokens = :completion_tokens AND (checkpoint_text = :answer OR {DELETED})
    """  # noqa: S608
)
"""The outcome itself: an earlier try was committed, and PostgreSQL was gone before it could say so."""

ANSWER = text("UPDATE messages SET text = :answer, completion_ids = :ids, tokenizer = :tokenizer WHERE id = :message_id")

NEXT = text(
    "SELECT id FROM tasks WHERE conversation_id = :conversation_id AND state = 'queued' ORDER BY seq LIMIT 1",
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one attempt ended."""

    id: uuid.UUID
    attempt: int
    state: TaskState
    finish_reason: FinishReason | None
    text: str
    ids: list[int] | None
    """None where the backend gives text only."""
    tokenizer: str | None
    prompt_tokens: int | None
    completion_tokens: int
    error: dict[str, str] | None = None
    logprobs: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Finished:
    """What the database made of an outcome."""

    state: TaskState
    next_task_id: uuid.UUID | None
    """A task of the same conversation that has become eligible and needs a wake token."""


async def finish(session: AsyncSession, outcome: Outcome) -> Finished | None:
    """Write the end of a task; again does no harm. None: another attempt owns it now, or it is gone; nothing was written."""
    values = {"answer": outcome.text, "ids": outcome.ids, "tokenizer": outcome.tokenizer}
    row = (
        await session.execute(
            FINISH,
            {
                **values,
                "id": outcome.id,
                "attempt": outcome.attempt,
                "state": outcome.state,
                "finish_reason": outcome.finish_reason,
                "error": json.dumps(outcome.error) if outcome.error else None,
                "prompt_tokens": outcome.prompt_tokens,
                "completion_tokens": outcome.completion_tokens,
                "logprobs": json.dumps(outcome.logprobs) if outcome.logprobs is not None else None,
            },
        )
    ).one_or_none()
    if row is None:
        return await find_written(session, outcome)
    if row.answer_message_id is not None:
        await session.execute(ANSWER, {**values, "message_id": row.answer_message_id})
    return Finished(TaskState(row.state), await next_in_conversation(session, row.conversation_id))


async def find_written(session: AsyncSession, outcome: Outcome) -> Finished | None:
    """What an earlier try to write this outcome did; None if there was none."""
    row = (
        await session.execute(
            WRITTEN,
            {
                "id": outcome.id,
                "attempt": outcome.attempt,
                "finish_reason": outcome.finish_reason,
                "completion_tokens": outcome.completion_tokens,
                "answer": outcome.text,
            },
        )
    ).one_or_none()
    return None if row is None else Finished(TaskState(row.state), await next_in_conversation(session, row.conversation_id))


async def next_in_conversation(session: AsyncSession, conversation_id: uuid.UUID | None) -> uuid.UUID | None:
    """The queued task that the end of another one may have made eligible."""
    if conversation_id is None:
        return None
    found: uuid.UUID | None = await session.scalar(NEXT, {"conversation_id": conversation_id})
    return found
