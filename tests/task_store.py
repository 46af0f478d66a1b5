"""The task functions on a database of the test's own, each in a transaction."""

import uuid
from typing import Any

from sqlalchemy import text

from ai_assistant.contracts import FinishReason, TaskState
from ai_assistant.database.models import Task
from ai_assistant.database.session import Database
from ai_assistant.tasks.accept import Submission, accept
from ai_assistant.tasks.claim import ClaimedTask, claim
from ai_assistant.tasks.finish import Finished, Outcome, finish
from ai_assistant.tasks.lease import Checkpoint, heartbeat
from ai_assistant.tasks.sweep import Swept, sweep


class Store:
    """The task functions, each in a transaction of its own."""

    def __init__(self, database: Database, user_id: uuid.UUID) -> None:
        self.database, self.user_id = database, user_id

    async def ask(self, message: str = "Hello", conversation_id: uuid.UUID | None = None, seconds: float = 600) -> Task:
        submission = Submission(
            assistant="assistant",
            user_id=self.user_id,
            principal="local",
            deadline_seconds=seconds,
            max_queued=1000,
            sampling={"max_tokens": 10},
            message=message,
            conversation_id=conversation_id,
        )
        async with self.database.session() as session:
            return await accept(session, submission)

    async def claim(self, worker: str = "w1", lease: float = 10) -> ClaimedTask | None:
        async with self.database.session() as session:
            return await claim(session, assistant="assistant", worker=worker, lease_seconds=lease)

    async def must_claim(self, worker: str = "w1", lease: float = 10) -> ClaimedTask:
        claimed = await self.claim(worker, lease)
        assert claimed is not None
        return claimed

    async def beat(self, task: ClaimedTask, ids: list[int] | None = None) -> dict[uuid.UUID, bool]:
        async with self.database.session() as session:
            return await heartbeat(session, [checkpoint(task, ids or [])], lease_seconds=10)

    async def finish(self, task: ClaimedTask, answer: str = "answer", prompt_tokens: int | None = 3) -> Finished | None:
        outcome = Outcome(
            id=task.id,
            attempt=task.attempt,
            state=TaskState.SUCCEEDED,
            finish_reason=FinishReason.STOP,
            text=answer,
            ids=[1, 2],
            tokenizer="t",
            prompt_tokens=prompt_tokens,
            completion_tokens=2,
        )
        async with self.database.session() as session:
            return await finish(session, outcome)

    async def sweep(self) -> Swept:
        async with self.database.session() as session:
            swept = await sweep(session, "assistant")
        assert swept is not None
        return swept

    async def row(self, task_id: uuid.UUID) -> Task:
        async with self.database.session() as session:
            task = await session.get(Task, task_id)
        assert task is not None
        return task

    async def change(self, statement: str, **values: Any) -> None:
        async with self.database.session() as session:
            await session.execute(text(statement), values)

    async def expire(self, task_id: uuid.UUID) -> None:
        """As if its worker had been silent for a long time."""
        await self.change("UPDATE tasks SET lease_until = now() - interval '1 minute' WHERE id = :id", id=task_id)

    async def pass_grace(self, task_id: uuid.UUID) -> None:
        """As if a sweep had seen the expired lease long ago."""
        await self.change("UPDATE tasks SET lost_at = lost_at - interval '1 minute' WHERE id = :id", id=task_id)


def checkpoint(task: ClaimedTask, ids: list[int]) -> Checkpoint:
    return Checkpoint(
        id=task.id,
        attempt=task.attempt,
        ids=ids,
        text="x" * len(ids),
        tokenizer="t",
        prompt_tokens=3,
        completion_tokens=len(ids),
    )
