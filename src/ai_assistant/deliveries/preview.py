"""Previews: real messages that show an answer while it is written (in groups, where a channel has nothing lighter)."""

import uuid

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import UNFINISHED, WAITING, DeliveryState
from ai_assistant.database.models import Delivery, Task
from ai_assistant.errors import DeliveryNotFoundError


async def note_preview(session: AsyncSession, channel: str, task_id: uuid.UUID, message_id: int | None) -> str:
    """Remember the message that shows the beginning of a task's answer. Returns the delivery's state as it is told.

    Raises DeliveryNotFoundError.
    """
    query = select(Delivery, Task.state.in_(UNFINISHED)).join(Task, Task.id == Delivery.task_id)
    query = query.where(Delivery.channel == channel, Delivery.task_id == task_id).with_for_update(of=Delivery)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise DeliveryNotFoundError(f"Nothing has to be delivered for task {task_id}.")
    delivery, waits = row
    delivery.preview_message_id = message_id
    return WAITING if waits and delivery.state == DeliveryState.PENDING else delivery.state
