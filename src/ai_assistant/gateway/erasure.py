"""Ending and erasing tasks whose conversation or user is deleted: rows in the caller's transaction, Redis after it."""

import asyncio
import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import CANCEL_CHANNEL, EVENTS_CHANNEL, UNFINISHED, stream_key
from ai_assistant.database.models import Task
from ai_assistant.tasks.cancel import cancel

logger = logging.getLogger(__name__)

CHUNK = 500
ANNOUNCE_SECONDS = 1.0
"""Longer than this nobody who deletes something waits for Redis."""


@dataclass(frozen=True)
class Erasure:
    """What Redis still has to be told about."""

    ended: Sequence[uuid.UUID] = ()
    """Tasks that are over now: their readers have to look."""
    running: Sequence[uuid.UUID] = ()
    """Tasks whose workers have to stop."""
    streams: Sequence[uuid.UUID] = ()
    """Tasks that may still have text in Redis."""


async def cancel_all(session: AsyncSession, *whose: ColumnElement[bool]) -> Erasure:
    """Cancel every unfinished task among those `whose` selects."""
    recent = or_(Task.finished_at.is_(None), Task.finished_at > func.now() - text("interval '2 hours'"))
    rows = (await session.execute(select(Task.id, Task.state).where(*whose, recent).order_by(Task.seq))).all()
    ended: list[uuid.UUID] = []
    running: list[uuid.UUID] = []
    for task_id, state in rows:
        if state in UNFINISHED and (cancellation := await cancel(session, task_id)) is not None:
            (ended if cancellation.ended else running).append(task_id)
    return Erasure(ended, running, [task_id for task_id, _ in rows])


async def announce(redis: Redis, erasure: Erasure) -> None:
    """Tell workers and readers, and delete the texts. Best effort: workers see flags in PostgreSQL, streams expire."""
    try:
        pipeline = redis.pipeline(transaction=False)
        for task_id in erasure.running:
            pipeline.publish(CANCEL_CHANNEL, str(task_id))
        for chunk in chunks(erasure.streams):
            pipeline.unlink(*(stream_key(task_id) for task_id in chunk))
        for task_id in (*erasure.ended, *erasure.running):
            pipeline.publish(EVENTS_CHANNEL, str(task_id))
        async with asyncio.timeout(ANNOUNCE_SECONDS):
            await pipeline.execute()
    except (RedisError, OSError, TimeoutError) as error:
        logger.warning("Redis cannot be told that %d tasks are over (%s)", len(erasure.streams), type(error).__name__)


def chunks(items: Sequence[uuid.UUID]) -> Iterable[Sequence[uuid.UUID]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
