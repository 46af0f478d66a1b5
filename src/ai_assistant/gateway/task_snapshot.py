"""A task as its clients see it, read for many tasks by one query: state, text in the row, place in the queue, usage."""

import datetime
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import CANCELLING, TaskState
from ai_assistant.tasks.backlog import Place

SNAPSHOTS = text(
    """
    WITH wanted AS (SELECT * FROM tasks WHERE id = ANY(CAST(:ids AS uuid[]))),
    names AS (SELECT DISTINCT assistant AS name FROM wanted WHERE state = 'queued'),
    line AS (
        SELECT id, row_number() OVER (PARTITION BY assistant ORDER BY seq) AS position
        FROM tasks JOIN names ON tasks.assistant = names.name WHERE tasks.state = 'queued'
    ),
    pace AS (
        SELECT name,
            (SELECT greatest(count(*), 1) FROM tasks WHERE assistant = name AND state = 'running') AS running,
            (SELECT avg(extract(epoch FROM finished_at - started_at))::float8 FROM (
                SELECT finished_at, started_at FROM tasks WHERE assistant = name AND state = 'succeeded'
                ORDER BY finished_at DESC LIMIT 20) AS recent) AS seconds
        FROM names
    )
    SELECT wanted.id, wanted.assistant, users.external_id AS "user", wanted.principal, wanted.conversation_id,
        wanted.user_message_id, wanted.answer_message_id, wanted.state, wanted.attempt, wanted.cancel_requested,
        wanted.checkpoint_text AS text, wanted.finish_reason, wanted.error, wanted.prompt_tokens, wanted.completion_tokens,
        CASE WHEN wanted.state NOT IN ('queued', 'running') THEN wanted.logprobs END AS logprobs,
        wanted.created_at, wanted.started_at, wanted.finished_at,
        line.position, CASE WHEN line.position IS NOT NULL THEN pace.running END AS running, pace.seconds
    FROM wanted JOIN users ON users.id = wanted.user_id
        LEFT JOIN line ON line.id = wanted.id LEFT JOIN pace ON pace.name = wanted.assistant
    """
)


@dataclass(frozen=True, kw_only=True)
class TaskSnapshot:
    """What the row said at one moment."""

    id: uuid.UUID
    assistant: str
    user: str
    """External id of the user whom the task belongs to."""
    principal: str
    conversation_id: uuid.UUID | None
    user_message_id: uuid.UUID | None
    answer_message_id: uuid.UUID | None
    state: TaskState
    attempt: int
    cancel_requested: bool
    text: str
    """The last checkpoint; of a final task, the whole text."""
    finish_reason: str | None
    error: dict[str, Any] | None
    prompt_tokens: int | None
    completion_tokens: int | None
    logprobs: list[dict[str, Any]] | None
    created_at: datetime.datetime
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None
    place: Place | None
    """Only while it is queued."""

    @property
    def is_final(self) -> bool:
        return self.state.is_final

    @property
    def status(self) -> str:
        """The state as clients are told."""
        return CANCELLING if self.state is TaskState.RUNNING and self.cancel_requested else str(self.state)


async def read_snapshots(session: AsyncSession, task_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, TaskSnapshot]:
    """Those of the tasks that exist."""
    found = {}
    for row in await session.execute(SNAPSHOTS, {"ids": list(task_ids)}):
        values = row._asdict()
        position, running, seconds = values.pop("position"), values.pop("running"), values.pop("seconds")
        place = None
        if position is not None:
            place = Place(position, None if seconds is None else round(position * seconds / running, 1))
        values["state"] = TaskState(row.state)
        found[row.id] = TaskSnapshot(**values, place=place)
    return found
