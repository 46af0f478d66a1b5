"""Claiming: a channel takes what is due, for as long as it goes on reporting.

Due is the delivery of a broadcast, or of a task that is over, whose `not_before` has passed and that nobody sends, or whose
sender's lease has expired. Answers come before broadcasts. Within a lane answers keep the order of their questions, so an
earlier one that is not written yet holds back the later ones. A target is served by one delivery at a time, and its
`not_before` holds back all that goes there, nothing else.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import DeliveryState
from ai_assistant.database.models import Delivery

LOCK = text("SELECT pg_advisory_xact_lock(hashtext('ai-assistant deliveries'), hashtext(:channel))")
"""Claims of a channel come one after the other: each has to see what the others have taken for the same target."""

FREE = "(state = 'pending' OR (state = 'sending' AND lease_until < clock_timestamp()))"

SETTLE = text(
    f"""
    UPDATE deliveries SET
        state = CASE WHEN reason IS NULL THEN 'skipped' ELSE 'dead' END, last_error = coalesce(reason, last_error),
        lease_until = NULL, in_flight = false, plan = NULL, updated_at = clock_timestamp()
    FROM (
        SELECT delivery.id AS which, dead_targets.reason
        FROM deliveries AS delivery LEFT JOIN tasks ON tasks.id = delivery.task_id
            LEFT JOIN dead_targets ON dead_targets.channel = delivery.channel AND dead_targets.target_key = delivery.target_key
        WHERE delivery.channel = :channel AND delivery.state IN ('pending', 'sending')
          AND (tasks.id IS NULL OR tasks.state NOT IN ('queued', 'running'))
          AND (
            dead_targets.reason IS NOT NULL
            OR (tasks.user_message_id IS NOT NULL AND tasks.conversation_id IS NULL)
            OR (tasks.state = 'cancelled' AND tasks.checkpoint_text !~ '\\S')
          )
    ) AS verdict
    WHERE id = which AND {FREE}
    RETURNING state
    """  # noqa: S608 - the inserted part is this module's constant
)
"""Those that will never be sent: the target is gone, or there is nothing to say. (Of a deleted conversation nothing is told.)"""

CLAIM = text(
    f"""
    -- windows and no join with itself: a broadcast makes thousands of rows at once, which the planner knows nothing of yet
    WITH open AS (
        SELECT deliveries.id, deliveries.seq, deliveries.state, deliveries.lease_until, not_before, target_key,
            task_id IS NULL AS is_broadcast, task_id IS NULL OR tasks.state NOT IN ('queued', 'running') AS is_written,
            deliveries.seq = min(deliveries.seq) OVER (PARTITION BY target_key, lane) AS is_next,
            count(*) FILTER (WHERE deliveries.state = 'sending') OVER chat AS sending,
            count(*) FILTER (WHERE not_before > clock_timestamp()) OVER chat AS held
        FROM deliveries LEFT JOIN tasks ON tasks.id = deliveries.task_id
        WHERE channel = :channel AND deliveries.state IN ('pending', 'sending')
        WINDOW chat AS (PARTITION BY target_key)
    ),
    due AS (
        SELECT DISTINCT ON (target_key) id, seq, is_broadcast FROM open
        WHERE is_written AND is_next AND held = 0 AND sending = CASE WHEN state = 'sending' THEN 1 ELSE 0 END AND {FREE}
        ORDER BY target_key, is_broadcast, seq
    )
    UPDATE deliveries SET
        state = 'sending', worker = :worker, attempt = attempt + 1, uncertain = uncertain OR in_flight, in_flight = false,
        lease_until = clock_timestamp() + make_interval(secs => :lease), updated_at = clock_timestamp()
    -- what its sender reports at this moment comes first
    WHERE id IN (SELECT id FROM due ORDER BY is_broadcast, seq LIMIT :limit) AND {FREE} AND not_before <= clock_timestamp()
    RETURNING id
    """  # noqa: S608
)


@dataclass(frozen=True)
class Claim:
    """What a channel got."""

    deliveries: Sequence[Delivery] = ()
    died: int = 0
    """Those that were given up on the way, for their target is gone."""


async def claim(session: AsyncSession, *, channel: str, worker: str, limit: int, lease_seconds: float) -> Claim:
    """Take at most `limit` deliveries that are due, answers and the oldest first, one per target."""
    await session.execute(LOCK, {"channel": channel})
    died = [state for state in await session.scalars(SETTLE, {"channel": channel}) if state == DeliveryState.DEAD]
    values = {"channel": channel, "worker": worker, "limit": limit, "lease": lease_seconds}
    claimed: list[uuid.UUID] = list(await session.scalars(CLAIM, values))
    if not claimed:
        return Claim(died=len(died))
    query = select(Delivery).where(Delivery.id.in_(claimed)).order_by(Delivery.task_id.is_(None), Delivery.seq)
    return Claim((await session.scalars(query)).all(), len(died))
