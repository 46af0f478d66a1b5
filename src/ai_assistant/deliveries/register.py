"""Registering: the delivery is written in the transaction that accepts its task, or withdrawn in that of a later one."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import DeliveryState
from ai_assistant.database.models import DeadTarget, Delivery, Task


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where an answer has to go."""

    channel: str
    target: dict[str, Any]
    target_key: str
    lane: str


async def register(session: AsyncSession, task: Task, destination: Destination) -> uuid.UUID:
    """Owe the answer of `task`. Who asks can be reached again, whatever was known before."""
    gone = (DeadTarget.channel == destination.channel, DeadTarget.target_key == destination.target_key)
    await session.execute(delete(DeadTarget).where(*gone))
    delivery = Delivery(
        task_id=task.id,
        user_id=task.user_id,
        channel=destination.channel,
        target=destination.target,
        target_key=destination.target_key,
        lane=destination.lane,
    )
    session.add(delivery)
    await session.flush()
    return delivery.id


async def withdraw(session: AsyncSession, task_ids: Collection[uuid.UUID]) -> None:
    """Owe the answers of superseded tasks no more, as far as nobody has seen anything of them: what is shown is completed."""
    if not task_ids:
        return
    unseen = (Delivery.parts == [], Delivery.preview_message_id.is_(None), Delivery.state == DeliveryState.PENDING)
    statement = update(Delivery).where(Delivery.task_id.in_(task_ids), *unseen)
    await session.execute(statement.values(state=DeliveryState.SKIPPED))
