"""The sweep: what nobody else will do for a task whose wake token, worker or time is gone."""

import uuid
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.tasks.accept import IDEMPOTENCY_HOURS
from ai_assistant.tasks.cancel import keep_partial
from ai_assistant.tasks.claim import LOST, MAX_TAKEOVERS

TOKEN_GRACE_SECONDS = 2.0
"""A task younger than this may still get its wake token from the request that made it; longer than a push may take."""

LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('ai-assistant sweep'), hashtext(:assistant))")

MARK_LOST = text(
    """
    UPDATE tasks SET lost_at = clock_timestamp()
    WHERE assistant = :assistant AND state = 'running' AND lost_at IS NULL AND lease_until < clock_timestamp()
    """
)

END = text(
    f"""
    UPDATE tasks SET
        state = ending.state, finish_reason = ending.reason, finished_at = clock_timestamp(), lease_until = NULL, lost_at = NULL,
        completion_tokens = coalesce(cardinality(checkpoint_ids), completion_tokens, 0),
        error = CASE ending.state
            WHEN 'failed' THEN jsonb_build_object('code', 'worker_lost', 'message',
                'The worker stopped three times while it worked on this; ask again, or look at its logs.')
            WHEN 'expired' THEN jsonb_build_object('code', 'deadline_exceeded', 'message',
                'There was no complete answer before the deadline; ask again when less is waiting.')
        END
    FROM (
        SELECT id, CASE
            WHEN cancel_requested AND (state = 'queued' OR lease_until < clock_timestamp()) THEN 'cancelled'
            WHEN deadline < clock_timestamp() AND (state = 'queued' OR ({LOST})) THEN 'expired'
            WHEN ({LOST}) AND takeovers >= {MAX_TAKEOVERS} THEN 'failed'
        END AS state, CASE
            WHEN cancel_requested THEN 'cancelled' WHEN deadline < clock_timestamp() THEN 'deadline' ELSE 'error'
        END AS reason
        FROM tasks WHERE assistant = :assistant AND state IN ('queued', 'running')
            -- only these are locked: a claim passes over a row that is locked, and its wake token would be wasted
            AND ((cancel_requested AND (state = 'queued' OR lease_until < clock_timestamp()))
                OR (deadline < clock_timestamp() AND (state = 'queued' OR ({LOST})))
                OR (({LOST}) AND takeovers >= {MAX_TAKEOVERS}))
        FOR UPDATE SKIP LOCKED
    ) AS ending
    WHERE tasks.id = ending.id AND ending.state IS NOT NULL
    RETURNING tasks.id
    """  # noqa: S608 - the inserted parts are this module's constants
)

WANTED = text(
    f"""
    SELECT count(*) FILTER (WHERE state = 'queued') AS queued,
        count(*) FILTER (WHERE state = 'queued'
            AND created_at < clock_timestamp() - interval '{TOKEN_GRACE_SECONDS} seconds') AS settled,
        count(*) FILTER (WHERE {LOST}) AS lost
    FROM tasks WHERE assistant = :assistant AND state IN ('queued', 'running')
    """  # noqa: S608
)

FORGET_KEYS = text(
    f"UPDATE tasks SET idempotency_key = NULL WHERE idempotency_key IS NOT NULL"  # noqa: S608
    f" AND created_at < now() - interval '{IDEMPOTENCY_HOURS} hours'"
)


@dataclass(frozen=True)
class Swept:
    """What a sweep found for one assistant."""

    queued: int = 0
    """Queued rows."""
    settled: int = 0
    """Queued rows whose own wake token must have been pushed by now, or was lost."""
    lost: int = 0
    """Running rows that may be taken over."""
    ended: list[uuid.UUID] = field(default_factory=list)
    """Tasks that the sweep ended: their readers have to be told."""


async def sweep(session: AsyncSession, assistant: str) -> Swept | None:
    """Mark lost tasks, end those that nobody will, count the wake tokens that should exist.

    None: another gateway replica sweeps this assistant right now.
    """
    if not await session.scalar(LOCK, {"assistant": assistant}):
        return None
    ended = list(await session.scalars(END, {"assistant": assistant}))
    for task_id in ended:
        await keep_partial(session, task_id)
    await session.execute(MARK_LOST, {"assistant": assistant})
    row = (await session.execute(WANTED, {"assistant": assistant})).one()
    return Swept(row.queued, row.settled, row.lost, ended)


async def forget_idempotency_keys(session: AsyncSession) -> None:
    """After 24 h a key may be used again."""
    await session.execute(FORGET_KEYS)
