"""Listing: what a channel owes, and what became of the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import UNFINISHED, WAITING, DeliveryState
from ai_assistant.database.models import Delivery, Task, User

OPEN = (DeliveryState.PENDING, DeliveryState.SENDING)


@dataclass(frozen=True)
class Entry:
    """A delivery as it is told."""

    delivery: Delivery
    user: str
    """External id."""
    state: str


async def list_page(
    session: AsyncSession, channel: str, *, state: str | None, target_key: str | None, after: int, limit: int
) -> Sequence[Entry]:
    """In the order of acceptance; `after` is the `seq` of the last one on the page before."""
    query = select(Delivery, User.external_id, Task.state.in_(UNFINISHED)).join(Task, Task.id == Delivery.task_id)
    query = query.join(User, User.id == Delivery.user_id).where(Delivery.channel == channel, Delivery.seq > after)
    if state == WAITING:
        query = query.where(Delivery.state == DeliveryState.PENDING, Task.state.in_(UNFINISHED))
    elif state is not None:
        query = query.where(Delivery.state == state)
        if state == DeliveryState.PENDING:
            query = query.where(Task.state.not_in(UNFINISHED))
    if target_key is not None:
        query = query.where(Delivery.target_key == target_key)
    rows = await session.execute(query.order_by(Delivery.seq).limit(limit))
    return [
        Entry(delivery, user, WAITING if waits and delivery.state == DeliveryState.PENDING else delivery.state)
        for delivery, user, waits in rows
    ]


async def pending_count(session: AsyncSession, channel: str) -> int:
    """Answers that are written and not delivered yet."""
    query = select(func.count()).select_from(Delivery).join(Task, Task.id == Delivery.task_id)
    query = query.where(Delivery.channel == channel, Delivery.state.in_(OPEN), Task.state.not_in(UNFINISHED))
    return await session.scalar(query) or 0
