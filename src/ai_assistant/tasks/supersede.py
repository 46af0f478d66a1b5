"""Superseding: who edits a question, or asks for another answer to it, does not wait for the answer that is being written."""

import uuid

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import UNFINISHED
from ai_assistant.database.models import Task
from ai_assistant.tasks.cancel import Cancellation, cancel


async def supersede(session: AsyncSession, question_id: uuid.UUID, *, by: uuid.UUID) -> dict[uuid.UUID, Cancellation]:
    """Cancel what still answers the user message `question_id`, but not the task `by`. Its conversation is locked already."""
    query = select(Task.id).where(Task.user_message_id == question_id, Task.state.in_(UNFINISHED), Task.id != by)
    cancelled = {task_id: await cancel(session, task_id) for task_id in await session.scalars(query.order_by(Task.seq))}
    return {task_id: item for task_id, item in cancelled.items() if item is not None}
