"""Whether this gateway can serve: PostgreSQL answers and has the tables. Redis and workers are reported, not required."""

import asyncio
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from alembic.script import ScriptDirectory
from redis.asyncio import Redis

from ai_assistant import assistants
from ai_assistant.database.migrate import alembic_config, current_revision, head_revision
from ai_assistant.database.session import Database
from ai_assistant.gateway.probe import Probe
from ai_assistant.metrics import GatewayMetrics
from ai_assistant.tasks import backlog


@dataclass(frozen=True)
class DatabaseReport:
    """What PostgreSQL says."""

    revision: str | None
    workers: list[dict[str, Any]] = field(default_factory=list)
    assistants: list[dict[str, Any]] = field(default_factory=list)


class Readiness:
    """The checks behind /readyz."""

    def __init__(self, database: Database, redis: Redis, metrics: GatewayMetrics) -> None:
        self._database = database
        self._redis = redis
        self._metrics = metrics
        self._postgresql = Probe(self._ask_postgresql)
        self._redis_ping = Probe(self._ping_redis)

    async def report(self, *, detailed: bool) -> tuple[bool, dict[str, Any]]:
        """(ready, body). Names of workers and assistants are for those who may know them: `detailed`."""
        postgresql, redis = await asyncio.gather(self._postgresql.result(), self._redis_ping.result(), return_exceptions=True)
        for name, outcome in (("postgresql", postgresql), ("redis", redis)):
            self._metrics.dependency_up.labels(name).set(not isinstance(outcome, BaseException))
        known = isinstance(postgresql, DatabaseReport)
        revision = postgresql.revision if isinstance(postgresql, DatabaseReport) else None
        ready = known and is_usable(revision)
        body: dict[str, Any] = {
            "status": "ready" if ready else "unavailable",
            "postgresql": "up" if known else "down",
            "schema": {"current": revision, "needed": needed_revision()},
            "redis": "down" if isinstance(redis, BaseException) else "up",
        }
        if detailed and isinstance(postgresql, DatabaseReport):
            body |= {"workers": postgresql.workers, "assistants": postgresql.assistants}
        return ready, body

    async def close(self) -> None:
        await self._postgresql.close()
        await self._redis_ping.close()

    async def _ask_postgresql(self) -> DatabaseReport:
        revision = await current_revision(self._database)
        if not is_usable(revision):
            return DatabaseReport(revision)
        async with self._database.session() as session:
            workers = await backlog.running_per_worker(session)
            known = await assistants.list_all(session)
        return DatabaseReport(
            revision,
            [{"name": worker, "assistant": assistant, "running": running} for assistant, worker, running in workers],
            [{"name": item.name, "state": item.state} for item in known],
        )

    async def _ping_redis(self) -> None:
        await self._redis.ping()  # type: ignore[misc]


def is_usable(revision: str | None) -> bool:
    """Whether this version works with a schema: its own, or a later one, which this version cannot know
    (migrations only add for one release, so that replicas of two versions can run side by side)."""
    return revision is not None and (revision == needed_revision() or revision not in known_revisions())


@cache
def needed_revision() -> str | None:
    return head_revision()


@cache
def known_revisions() -> frozenset[str]:
    script = ScriptDirectory.from_config(alembic_config())
    return frozenset(item.revision for item in script.walk_revisions())
