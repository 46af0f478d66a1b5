"""Questions: which message of a channel became which task, so that edits and retries find what they are about."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import UNFINISHED, WAITING, DeliveryState
from ai_assistant.database.models import Delivery, Message, Task
from ai_assistant.deliveries.listing import OPEN


@dataclass(frozen=True)
class Asked:
    """A question as it was asked once; an edit asks again."""

    delivery: Delivery
    task: Task
    text: str
    state: str


async def find_questions(
    session: AsyncSession,
    channel: str,
    target_key: str,
    *,
    message_id: int | None,
    conversation_id: uuid.UUID | None,
    is_open: bool,
    limit: int,
) -> Sequence[Asked]:
    """The last ones to a target, oldest first; `message_id` is the channel's, or that of a later part of the same question."""
    query = select(Delivery, Task, Message.text).join(Task, Task.id == Delivery.task_id)
    query = query.join(Message, Message.id == Task.user_message_id)
    query = query.where(Delivery.channel == channel, Delivery.target_key == target_key)
    if message_id is not None:
        first = Delivery.target["message_id"].astext.cast(BigInteger)
        last = func.coalesce(Delivery.target["last_message_id"].astext.cast(BigInteger), first)
        query = query.where(first <= message_id, last >= message_id)
    if conversation_id is not None:
        query = query.where(Task.conversation_id == conversation_id)
    if is_open:
        query = query.where(Delivery.state.in_(OPEN))
    rows = (await session.execute(query.order_by(Delivery.seq.desc()).limit(limit))).all()
    return [Asked(delivery, task, text or "", state_of(delivery, task)) for delivery, task, text in reversed(rows)]


def state_of(delivery: Delivery, task: Task) -> str:
    return WAITING if delivery.state == DeliveryState.PENDING and task.state in UNFINISHED else delivery.state


async def withdraw(session: AsyncSession, task_id: uuid.UUID) -> None:
    """Nothing of this answer is delivered any more, unless that has begun."""
    mine = (Delivery.task_id == task_id, Delivery.state == DeliveryState.PENDING)
    await session.execute(update(Delivery).where(*mine).values(state=DeliveryState.SKIPPED, updated_at=func.clock_timestamp()))
