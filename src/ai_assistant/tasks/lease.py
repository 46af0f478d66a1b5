"""Keeping a task: the heartbeat saves what there is of each answer, renews the leases and brings back cancel flags."""

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import TaskState
from ai_assistant.tasks.cancel import keep_partial
from ai_assistant.tasks.finish import DELETED

HEARTBEAT = text(
    f"""
    WITH mine AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb))
            AS mine(id uuid, attempt int, ids int[], answer text, tokenizer text, prompt_tokens int, completion_tokens int)
    )
    UPDATE tasks SET
        lease_until = clock_timestamp() + make_interval(secs => :lease), lost_at = NULL,
        checkpoint_ids = CASE WHEN NOT {DELETED} THEN mine.ids END,
        checkpoint_text = CASE WHEN {DELETED} THEN '' ELSE mine.answer END, tokenizer = mine.tokenizer,
        prompt_tokens = coalesce(mine.prompt_tokens, tasks.prompt_tokens),
        -- where there are ids, they are the count
        completion_tokens = CASE WHEN mine.ids IS NULL THEN mine.completion_tokens END,
        first_token_at = coalesce(first_token_at, CASE WHEN mine.completion_tokens > 0 THEN clock_timestamp() END)
    FROM mine WHERE tasks.id = mine.id AND tasks.attempt = mine.attempt AND tasks.state = 'running'
    RETURNING tasks.id, tasks.cancel_requested
    """  # noqa: S608 - the inserted part is a constant
)

HAND_BACK = text(
    """
    UPDATE tasks SET
        state = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END,
        finish_reason = CASE WHEN cancel_requested THEN 'cancelled' END,
        finished_at = CASE WHEN cancel_requested THEN clock_timestamp() END,
        completion_tokens = CASE WHEN cancel_requested THEN coalesce(cardinality(checkpoint_ids), completion_tokens, 0)
            ELSE completion_tokens END,
        worker = NULL, lease_until = NULL, lost_at = NULL
    WHERE id = :id AND attempt = :attempt AND state = 'running'
    RETURNING state
    """
)

GIVE_UP = text(
    """
    UPDATE tasks SET lease_until = clock_timestamp(), lost_at = clock_timestamp()
    WHERE id = :id AND attempt = :attempt AND state = 'running'
    """
)

LET_GO = text(
    """
    UPDATE tasks SET lease_until = clock_timestamp(), lost_at = clock_timestamp()
    WHERE worker = :worker AND state = 'running' RETURNING id
    """
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What one running task has so far."""

    id: uuid.UUID
    attempt: int
    ids: list[int] | None
    """None where the backend gives text only."""
    text: str
    tokenizer: str
    prompt_tokens: int | None
    completion_tokens: int


async def heartbeat(session: AsyncSession, checkpoints: Iterable[Checkpoint], *, lease_seconds: float) -> dict[uuid.UUID, bool]:
    """Save and renew all in one statement. Returns {task id: cancel requested} of those still held;
    one that is missing was taken over, finished or deleted, and its holder must stop."""
    rows = [
        {
            "id": str(item.id),
            "attempt": item.attempt,
            "ids": item.ids,
            "answer": item.text,
            "tokenizer": item.tokenizer,
            "prompt_tokens": item.prompt_tokens,
            "completion_tokens": item.completion_tokens,
        }
        for item in checkpoints
    ]
    result = await session.execute(HEARTBEAT, {"rows": json.dumps(rows), "lease": lease_seconds})
    return {row.id: row.cancel_requested for row in result}


async def hand_back(session: AsyncSession, checkpoint: Checkpoint, *, lease_seconds: float) -> bool:
    """Return a running task to the queue with its checkpoint, for a worker that is shutting down. False: not ours any more."""
    held = await heartbeat(session, [checkpoint], lease_seconds=lease_seconds)
    if checkpoint.id not in held:
        return False
    row = (await session.execute(HAND_BACK, {"id": checkpoint.id, "attempt": checkpoint.attempt})).one_or_none()
    if row is not None and row.state == TaskState.CANCELLED:
        await keep_partial(session, checkpoint.id)
    return row is not None


async def give_up(session: AsyncSession, checkpoint: Checkpoint, *, lease_seconds: float) -> None:
    """Leave a running task with its checkpoint as lost: this attempt counts, for the task may be what broke the worker."""
    await heartbeat(session, [checkpoint], lease_seconds=lease_seconds)
    await session.execute(GIVE_UP, {"id": checkpoint.id, "attempt": checkpoint.attempt})


async def let_go(session: AsyncSession, worker: str) -> int:
    """What a worker of this name held when it was killed need not wait for the lease to run out. Returns the number of tasks.

    Safe even if another worker of the same name is alive: it renews within a second, before anybody may take over.
    """
    return len(list(await session.scalars(LET_GO, {"worker": worker})))


async def exists(session: AsyncSession, task_id: uuid.UUID) -> bool:
    """False: the task was deleted with its user."""
    return bool(await session.scalar(text("SELECT true FROM tasks WHERE id = :id"), {"id": task_id}))
