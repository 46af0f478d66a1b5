"""Numbers about the queue: for a user who waits, and for the metrics that scaling rests on."""

import uuid
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

POSITION = text(
    """
    SELECT
        (SELECT count(*) FROM tasks WHERE assistant = :assistant AND state = 'queued' AND seq <= mine.seq) AS position,
        (SELECT greatest(count(*), 1) FROM tasks WHERE assistant = :assistant AND state = 'running') AS running,
        (SELECT avg(extract(epoch FROM finished_at - started_at))::float8 FROM (
            SELECT finished_at, started_at FROM tasks WHERE assistant = :assistant AND state = 'succeeded'
            ORDER BY finished_at DESC LIMIT 20) AS recent) AS seconds
    FROM tasks AS mine WHERE id = :id AND state = 'queued'
    """
)

TOTALS = text(
    """
    SELECT assistants.name AS assistant,
        count(tasks.id) FILTER (WHERE tasks.state = 'queued') AS queued,
        count(tasks.id) FILTER (WHERE tasks.state = 'running') AS running,
        coalesce(extract(epoch FROM clock_timestamp() - min(tasks.created_at) FILTER (WHERE tasks.state = 'queued')), 0)::float8
            AS oldest_seconds
    FROM assistants LEFT JOIN tasks ON tasks.assistant = assistants.name AND tasks.state IN ('queued', 'running')
    GROUP BY assistants.name
    """
)

WORKERS = text(
    """
    SELECT assistant, worker, count(*) AS running FROM tasks
    WHERE state = 'running' AND worker IS NOT NULL GROUP BY assistant, worker
    """
)


@dataclass(frozen=True)
class Place:
    """Where a queued task stands; 1 is next."""

    position: int
    eta_seconds: float | None


@dataclass(frozen=True)
class QueueTotals:
    assistant: str
    queued: int
    running: int
    oldest_seconds: float


async def place(session: AsyncSession, task_id: uuid.UUID, assistant: str) -> Place | None:
    """None if the task does not wait. The estimate is: turns ahead, at the pace of the last 20 answers."""
    row = (await session.execute(POSITION, {"id": task_id, "assistant": assistant})).one_or_none()
    if row is None:
        return None
    eta = None if row.seconds is None else round(row.position * row.seconds / row.running, 1)
    return Place(row.position, eta)


async def totals(session: AsyncSession) -> list[QueueTotals]:
    """Per assistant: queued and running rows, age of the oldest queued one in seconds."""
    return [QueueTotals(row.assistant, row.queued, row.running, row.oldest_seconds) for row in await session.execute(TOTALS)]


async def running_per_worker(session: AsyncSession) -> list[tuple[str, str, int]]:
    """(assistant, worker, running rows)."""
    return [(row.assistant, row.worker, row.running) for row in await session.execute(WORKERS)]
