"""Listing: what a channel owes, and what became of the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from ai_assistant.contracts import UNFINISHED, WAITING, DeliveryState
from ai_assistant.database.models import Delivery, Task, User

OPEN = (DeliveryState.PENDING, DeliveryState.SENDING)
IS_WRITTEN = or_(Task.id.is_(None), Task.state.not_in(UNFINISHED))
"""Nothing has to be waited for: broadcasts have no task."""


@dataclass(frozen=True)
class Entry:
    """A delivery as it is told."""

    delivery: Delivery
    user: str
    """External id."""
    author: str | None
    assistant: str | None
    state: str


async def list_page(
    session: AsyncSession, channel: str, *, state: str | None, target_key: str | None, after: int, limit: int
) -> Sequence[Entry]:
    """In the order of acceptance; `after` is the `seq` of the last one on the page before."""
    author = aliased(User)
    query = select(Delivery, User.external_id, author.external_id, Task.assistant, Task.state.in_(UNFINISHED))
    query = query.outerjoin(Task, Task.id == Delivery.task_id).join(User, User.id == Delivery.user_id)
    query = query.outerjoin(author, author.id == Task.author_id)
    query = query.where(Delivery.channel == channel, Delivery.seq > after)
    if state == WAITING:
        query = query.where(Delivery.state == DeliveryState.PENDING, Task.state.in_(UNFINISHED))
    elif state is not None:
        query = query.where(Delivery.state == state)
        if state == DeliveryState.PENDING:
            query = query.where(IS_WRITTEN)
    if target_key is not None:
        query = query.where(Delivery.target_key == target_key)
    rows = await session.execute(query.order_by(Delivery.seq).limit(limit))
    return [
        Entry(delivery, user, asked, assistant, WAITING if waits and delivery.state == DeliveryState.PENDING else delivery.state)
        for delivery, user, asked, assistant, waits in rows
    ]


async def pending_count(session: AsyncSession, channel: str) -> int:
    """What is ready and not delivered yet."""
    query = select(func.count()).select_from(Delivery).outerjoin(Task, Task.id == Delivery.task_id)
    query = query.where(Delivery.channel == channel, Delivery.state.in_(OPEN), IS_WRITTEN)
    return await session.scalar(query) or 0


@dataclass(frozen=True)
class OpenTotal:
    """How much of one channel is in one state."""

    channel: str
    state: str
    count: int
    oldest_seconds: float
    """Since the oldest of them could be delivered; 0 for answers that are being written."""


TOTALS = text(
    f"""
    SELECT channel, status AS state, count(*) AS count,
        CASE WHEN status = '{WAITING}' THEN 0 ELSE extract(epoch FROM clock_timestamp() - min(ready_at)) END::float8 AS oldest
    FROM (
        SELECT deliveries.channel, coalesce(tasks.finished_at, deliveries.created_at) AS ready_at,
            CASE WHEN deliveries.state = 'pending' AND tasks.state IN ('queued', 'running') THEN '{WAITING}'
                ELSE deliveries.state END AS status
        FROM deliveries LEFT JOIN tasks ON tasks.id = deliveries.task_id WHERE deliveries.state IN ('pending', 'sending')
    ) AS open
    GROUP BY channel, status
    """  # noqa: S608 - the inserted part is a constant
)


async def open_totals(session: AsyncSession) -> list[OpenTotal]:
    """Of every channel that owes something."""
    return [OpenTotal(*row) for row in await session.execute(TOTALS)]
