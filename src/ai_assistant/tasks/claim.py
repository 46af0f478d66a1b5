"""Claiming: a worker with a free slot takes the next eligible task, whatever wake token it was called by.

Eligible are queued tasks without an earlier unfinished one in their conversation, and running ones whose worker was lost: the
lease has expired, a sweep saw it, and the holder did not renew it within GRACE_SECONDS after that. The grace matters when
PostgreSQL itself was away: all leases have expired then, and their holders must get the first word.
"""

import datetime
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

GRACE_SECONDS = 2.0
MAX_TAKEOVERS = 2
"""With the first claim that makes three attempts; a hand-over on shutdown does not count."""

LOST = f"""
    state = 'running' AND lease_until < clock_timestamp()
    AND lost_at < clock_timestamp() - interval '{GRACE_SECONDS} seconds'
"""

CLAIM = text(
    f"""
    WITH next AS (
        SELECT id, state = 'running' AS lost FROM tasks AS candidate
        WHERE assistant = :assistant AND NOT cancel_requested AND deadline > clock_timestamp()
          AND (
            (state = 'queued' AND NOT EXISTS (
                SELECT 1 FROM tasks AS earlier
                WHERE earlier.conversation_id = candidate.conversation_id AND earlier.seq < candidate.seq
                  AND earlier.state IN ('queued', 'running')))
            OR ({LOST} AND takeovers < {MAX_TAKEOVERS})
          )
        ORDER BY seq LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    UPDATE tasks SET
        state = 'running', worker = :worker, attempt = attempt + 1, takeovers = takeovers + next.lost::int,
        lease_until = clock_timestamp() + make_interval(secs => :lease), lost_at = NULL,
        started_at = coalesce(started_at, clock_timestamp())
    FROM next WHERE tasks.id = next.id
    RETURNING tasks.id, tasks.assistant, tasks.attempt, tasks.takeovers, tasks.user_id, tasks.conversation_id,
        tasks.user_message_id, tasks.answer_message_id, tasks.messages, tasks.instructions, tasks.sampling, tasks.request_id,
        tasks.checkpoint_ids, tasks.checkpoint_text, tasks.tokenizer, tasks.created_at, tasks.started_at, tasks.first_token_at,
        extract(epoch FROM tasks.deadline - clock_timestamp())::float8 AS seconds_left,
        extract(epoch FROM clock_timestamp() - tasks.created_at)::float8 AS waited_seconds
    """  # noqa: S608 - the inserted parts are this module's constants
)


@dataclass(frozen=True, kw_only=True)
class ClaimedTask:
    """A task that this worker holds as attempt `attempt`."""

    id: uuid.UUID
    assistant: str
    attempt: int
    takeovers: int
    user_id: uuid.UUID
    conversation_id: uuid.UUID | None
    user_message_id: uuid.UUID | None
    answer_message_id: uuid.UUID | None
    messages: list[dict[str, Any]] | None
    instructions: str | None
    sampling: dict[str, Any]
    request_id: str | None
    checkpoint_ids: list[int] | None
    checkpoint_text: str
    tokenizer: str | None
    """Digest of the tokenizer that the checkpoint's ids belong to."""
    created_at: datetime.datetime
    started_at: datetime.datetime
    first_token_at: datetime.datetime | None
    seconds_left: float
    """Until the deadline."""
    waited_seconds: float
    """Since it was accepted."""


async def claim(session: AsyncSession, *, assistant: str, worker: str, lease_seconds: float) -> ClaimedTask | None:
    """Take the next eligible task of `assistant`; None if there is none."""
    row = (await session.execute(CLAIM, {"assistant": assistant, "worker": worker, "lease": lease_seconds})).one_or_none()
    return None if row is None else ClaimedTask(**row._asdict())
