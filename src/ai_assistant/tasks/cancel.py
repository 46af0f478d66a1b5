"""Cancelling: at once while queued; by a flag while running, which the worker sees at its next heartbeat at the latest."""

import uuid
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import TaskState
from ai_assistant.tasks.finish import next_in_conversation

CANCEL = text(
    """
    UPDATE tasks SET
        cancel_requested = true,
        state = CASE WHEN ends THEN 'cancelled' ELSE state END,
        finish_reason = CASE WHEN ends THEN 'cancelled' ELSE finish_reason END,
        completion_tokens = CASE WHEN ends THEN coalesce(cardinality(checkpoint_ids), completion_tokens, 0)
            ELSE completion_tokens END,
        finished_at = CASE WHEN ends THEN clock_timestamp() END
    FROM (
        SELECT id AS which, state = 'queued' OR lease_until < clock_timestamp() AS ends FROM tasks
        WHERE id = :id AND state IN ('queued', 'running') FOR UPDATE
    ) AS decision
    WHERE tasks.id = which
    RETURNING tasks.state, tasks.conversation_id
    """
)

KEEP_PARTIAL = text(
    """
    UPDATE messages SET text = tasks.checkpoint_text, completion_ids = tasks.checkpoint_ids, tokenizer = tasks.tokenizer
    FROM tasks WHERE tasks.id = :id AND messages.id = tasks.answer_message_id AND messages.text IS NULL
    """
)


WITHDRAW = text(
    """
    UPDATE tasks SET
        state = 'failed', finish_reason = 'error', finished_at = clock_timestamp(), lease_until = NULL, lost_at = NULL,
        completion_tokens = coalesce(cardinality(checkpoint_ids), completion_tokens, 0),
        error = jsonb_build_object('code', 'assistant_deleted', 'message', 'This assistant has been deleted.')
    WHERE assistant = :assistant AND state IN ('queued', 'running')
    RETURNING id
    """
)


@dataclass(frozen=True)
class Cancellation:
    """What a cancel did."""

    ended: bool
    """The task is over now; otherwise its worker has to be told."""
    next_task_id: uuid.UUID | None = None


async def cancel(session: AsyncSession, task_id: uuid.UUID) -> Cancellation | None:
    """Ask for the end of a task. None if it is over already."""
    row = (await session.execute(CANCEL, {"id": task_id})).one_or_none()
    if row is None:
        return None
    if row.state != TaskState.CANCELLED:
        return Cancellation(ended=False)
    await keep_partial(session, task_id)
    return Cancellation(True, await next_in_conversation(session, row.conversation_id))


async def keep_partial(session: AsyncSession, task_id: uuid.UUID) -> None:
    """Give the answer's message the text that the checkpoint has, for a task that ended without its worker."""
    await session.execute(KEEP_PARTIAL, {"id": task_id})


async def withdraw(session: AsyncSession, assistant: str) -> list[uuid.UUID]:
    """End all unfinished tasks of an assistant that is deleted; a worker that still runs one finds it gone and stops."""
    ended = list(await session.scalars(WITHDRAW, {"assistant": assistant}))
    for task_id in ended:
        await keep_partial(session, task_id)
    return ended
