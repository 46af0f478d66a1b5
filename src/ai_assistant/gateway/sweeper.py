"""The loop that makes up for what was lost: wake tokens, workers, ends. Every gateway replica runs it; PostgreSQL's advisory
lock lets one of them at an assistant at a time.
"""

import asyncio
import contextlib
import logging
import random
import uuid

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ai_assistant.contracts import EVENTS_CHANNEL, queue_name
from ai_assistant.database.session import Database
from ai_assistant.dispatch import Dispatcher
from ai_assistant.errors import DatabaseUnavailableError
from ai_assistant.gateway.background import end
from ai_assistant.gateway.stream_hub import StreamHub
from ai_assistant.metrics import GatewayMetrics
from ai_assistant.tasks.sweep import Swept, forget_idempotency_keys, sweep

logger = logging.getLogger(__name__)

JITTER = 0.2
FORGET_SECONDS = 3600.0
PUSH_CHUNK = 50
"""Tokens per push: a push that takes too long is given up, yet may still arrive."""

ASSISTANTS = text("SELECT name FROM assistants UNION SELECT assistant FROM tasks WHERE state IN ('queued', 'running')")


class Sweeper:
    """Sweeps every assistant in turn, for as long as the process lives."""

    def __init__(
        self,
        database: Database,
        redis: "Redis",
        dispatcher: Dispatcher,
        hub: StreamHub,
        metrics: GatewayMetrics,
        interval: float,
    ) -> None:
        self._database, self._redis, self._dispatcher = database, redis, dispatcher
        self._hub, self._metrics, self._interval = hub, metrics, interval
        self._loop: asyncio.Task[None] | None = None
        self._surplus: dict[str, int] = {}
        self._resting: set[str] = set()
        self._away: set[str] = set()
        self._ask_redis_at = 0.0

    async def start(self) -> None:
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._loop is not None:
            await end(self._loop)
            self._loop = None

    async def sweep_all(self) -> None:
        """One round. Raises DatabaseUnavailableError."""
        async with self._database.session() as session:
            names = list(await session.scalars(ASSISTANTS))
        for name in names:
            await self.sweep_one(name)

    async def sweep_one(self, assistant: str) -> Swept | None:
        """Sweep `assistant`; None if another replica does."""
        async with self._database.session() as session:
            before = await self._depth(assistant)
            swept = await sweep(session, assistant)
            if swept is None:
                return None
            # Still under the lock: two replicas that count at the same time would both make up for the same tokens.
            await self._level(assistant, swept, before)
        if swept.ended:
            self._hub.background.spawn(self._announce(swept.ended))
        return swept

    async def _announce(self, ended: list[uuid.UUID]) -> None:
        """Tell the readers, best effort: they look for themselves once a second."""
        with contextlib.suppress(RedisError, OSError):
            pipeline = self._redis.pipeline(transaction=False)
            for task_id in ended:
                pipeline.publish(EVENTS_CHANNEL, str(task_id))
            await pipeline.execute()

    async def _level(self, assistant: str, swept: Swept, before: int | None) -> None:
        """Bring the number of tokens to that of queued and lost rows."""
        depth = None if before is None else await self._depth(assistant)
        if depth is None or before is None:
            self._surplus.pop(assistant, None)
            return
        if assistant in self._resting:
            # tokens of a push that was given up may have arrived meanwhile; now they are counted
            self._resting.discard(assistant)
            return
        missing = swept.settled + swept.lost - depth
        if missing > 0:
            self._surplus.pop(assistant, None)
            await self._push(assistant, missing)
            return
        # A token that is in the queue before and after the rows were counted, without a row, is one too many: its task was
        # cancelled, or it was pushed twice. Rows and tokens may change places between the counts, so only what two sweeps
        # in a row find is dropped. Should that still be one too many: any token calls a worker to any task, and the next
        # sweep makes up for one that is missing.
        surplus = min(before, depth) - swept.queued - swept.lost
        if surplus > 0:
            confirmed = min(surplus, self._surplus.get(assistant, 0))
            self._surplus[assistant] = surplus - confirmed
            if confirmed:
                with contextlib.suppress(RedisError, OSError):
                    await self._redis.lpop(queue_name(assistant), confirmed)  # type: ignore[misc]
        else:
            self._surplus.pop(assistant, None)

    async def _push(self, assistant: str, missing: int) -> None:
        while missing > 0:
            chunk = min(missing, PUSH_CHUNK)
            if not await self._dispatcher.push(assistant, [None] * chunk):
                self._resting.add(assistant)
                return
            self._metrics.tokens_topped_up.labels(assistant).inc(chunk)
            missing -= chunk

    async def _depth(self, assistant: str) -> int | None:
        """Wake tokens in the queue; None if Redis does not tell. One that is frozen is asked once a round, not per assistant."""
        now = asyncio.get_running_loop().time
        if now() < self._ask_redis_at:
            return None
        try:
            depth: int = await self._redis.llen(queue_name(assistant))  # type: ignore[misc]
        except (RedisError, OSError) as error:
            self._note_away("Redis", error)
            self._ask_redis_at = now() + self._interval * (1 - JITTER)
            return None
        self._note_back("Redis")
        return depth

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        forgotten_at = now() - FORGET_SECONDS
        while True:
            try:
                await self.sweep_all()
                if now() - forgotten_at >= FORGET_SECONDS:
                    async with self._database.session() as session:
                        await forget_idempotency_keys(session)
                    forgotten_at = now()
                self._note_back("PostgreSQL")
            except (DatabaseUnavailableError, DBAPIError) as error:
                self._note_away("PostgreSQL", error)
            except Exception:
                logger.exception("A sweep failed; the next one tries again")
            await asyncio.sleep(self._interval * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - not a secret

    def _note_away(self, name: str, error: Exception) -> None:
        if name not in self._away:
            self._away.add(name)
            logger.warning("The sweep waits for %s (%s)", name, error)

    def _note_back(self, name: str) -> None:
        if name in self._away:
            self._away.discard(name)
            logger.info("%s answers the sweep again", name)
