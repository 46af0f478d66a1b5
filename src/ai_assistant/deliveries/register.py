"""Registering: the delivery is written in the transaction that accepts its task."""

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

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
