"""Numbers of the queues for the operator, as soon as they change: the source of `/internal/queues`.

A change is announced by a hint in Redis (the assistant's name), by whoever makes it; what the numbers are is always read from
PostgreSQL, at most every few milliseconds and for all readers at once. A hint that is lost, or a Redis that is away, costs a
second: then the numbers are read anyway. Nothing runs while nobody listens.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ai_assistant.contracts import EVENTS_CHANNEL, QUEUES_CHANNEL, queue_name
from ai_assistant.database.session import Database
from ai_assistant.gateway.background import end
from ai_assistant.tasks import backlog

logger = logging.getLogger(__name__)

COALESCE_SECONDS = 0.01
"""Between two readings; changes within it are told together."""
SETTLE_SECONDS = 0.1
"""After a change the numbers are read once more: the hint goes out before its wake token."""
POLL_SECONDS = 1.0
"""Between two readings without a hint, which may have got lost."""
HEARTBEAT_SECONDS = 5.0
FRESH_SECONDS = 3.0
"""Numbers that are older are told to be old."""
DEPTH_SECONDS = 0.2
"""Longest wait for the depths; without Redis they are unknown."""
LISTEN_SECONDS = 2.0
REMOVED = "removed"


@dataclass(frozen=True)
class QueueState:
    """One assistant's queue at one moment."""

    assistant: str
    queued: int
    running: int
    redis_depth: int | None
    """None: Redis did not tell."""
    workers: dict[str, int]
    """Running tasks by lease holder."""
    oldest_seconds: float = field(compare=False, default=0.0)
    """Age of the oldest queued task; it grows by itself, so that alone is no change."""

    def to_json(self) -> dict[str, Any]:
        return {
            "assistant": self.assistant,
            "queued": self.queued,
            "running": self.running,
            "redis_depth": self.redis_depth,
            "oldest_seconds": round(self.oldest_seconds, 3),
            "workers": self.workers,
        }


class Reader:
    """What one connection has not been told yet: the latest state per assistant, however slowly it reads."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.pending: dict[str, QueueState | None] = {}
        """None: the assistant is gone."""
        self.wants_snapshot = True
        self.heartbeat: bool | None = None
        """To be told: whether the numbers are fresh."""


class QueueFeed:
    """One per gateway process."""

    def __init__(self, database: Database, redis: Redis, listener: Redis) -> None:
        self._database, self._redis, self._listener = database, redis, listener
        self._readers: set[Reader] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._hinted = asyncio.Event()
        self._states: dict[str, QueueState] | None = None
        self._read_at = float("-inf")
        self._skip_depths_until = 0.0
        self._is_stopping = False

    def hint(self) -> None:
        """Something changed in this process."""
        self._hinted.set()

    async def publish(self, assistant: str) -> None:
        """Something changed: tell all replicas, best effort."""
        self.hint()
        with contextlib.suppress(RedisError, OSError):
            await self._redis.publish(QUEUES_CHANNEL, assistant)

    async def events(self) -> AsyncGenerator[tuple[str, Any], None]:
        """(event, data): `snapshot` first, then `queue` or `removed` for each change, and a `heartbeat` every five seconds."""
        reader = Reader()
        self._readers.add(reader)
        self._begin()
        try:
            while not self._is_stopping:
                await reader.changed.wait()
                reader.changed.clear()
                if reader.wants_snapshot and self._states is not None:
                    reader.wants_snapshot = False
                    reader.pending.clear()
                    yield "snapshot", {"assistants": [item.to_json() for item in self._states.values()]}
                pending, reader.pending = reader.pending, {}
                for name, state in pending.items():
                    yield (REMOVED, {"assistant": name}) if state is None else ("queue", state.to_json())
                if reader.heartbeat is not None:
                    is_fresh, reader.heartbeat = reader.heartbeat, None
                    yield "heartbeat", {"fresh": is_fresh}
        finally:
            self._readers.discard(reader)
            if not self._readers:
                await self._rest()

    async def stop(self) -> None:
        """End all connections; their readers come again elsewhere."""
        self._is_stopping = True
        for reader in self._readers:
            reader.changed.set()
        await self._rest()
        with contextlib.suppress(RedisError, OSError):
            await self._listener.aclose()

    def _begin(self) -> None:
        self._hinted.set()
        if not self._loops and not self._is_stopping:
            self._loops = [asyncio.create_task(self._follow()), asyncio.create_task(self._listen())]
            self._loops.append(asyncio.create_task(self._beat()))

    async def _rest(self) -> None:
        loops, self._loops = self._loops, []
        self._states = None
        await end(*loops)

    async def _follow(self) -> None:
        """Read after every hint, once more when it has settled, and each second in any case."""
        settles = False
        while True:
            is_hint = True
            try:
                async with asyncio.timeout(SETTLE_SECONDS if settles else POLL_SECONDS):
                    await self._hinted.wait()
            except TimeoutError:
                is_hint = False
            self._hinted.clear()
            await self._read()
            settles = is_hint
            await asyncio.sleep(COALESCE_SECONDS)

    async def _beat(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            is_fresh = now() - self._read_at < FRESH_SECONDS
            for reader in self._readers:
                reader.heartbeat = is_fresh
                reader.changed.set()

    async def _listen(self) -> None:
        is_told = True
        while True:
            try:
                async with self._listener.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(QUEUES_CHANNEL, EVENTS_CHANNEL)
                    is_told = True
                    self._hinted.set()  # for what happened before
                    while True:
                        if await pubsub.get_message(timeout=LISTEN_SECONDS) is not None:
                            self._hinted.set()
            except (RedisError, OSError) as error:
                if is_told:
                    logger.warning("Redis cannot be reached (%s); the queues' numbers are read every second", error)
                is_told = False
                await asyncio.sleep(POLL_SECONDS)

    async def _read(self) -> None:
        """Bring all readers up to date; while PostgreSQL does not tell, nothing is said."""
        try:
            async with self._database.session() as session:
                totals, workers = await backlog.totals(session), await backlog.running_per_worker(session)
            depths = await self._depths([item.assistant for item in totals])
        except Exception as error:
            logger.debug("the queues' numbers cannot be read (%s)", type(error).__name__)
            return
        self._read_at = asyncio.get_running_loop().time()
        self.tell({item.assistant: item for item in states_of(totals, workers, depths)})

    def tell(self, found: dict[str, QueueState]) -> None:
        """Note for all readers what differs from the states before."""
        before, self._states = self._states, found
        for reader in self._readers:
            if before is not None:
                reader.pending.update({name: state for name, state in found.items() if before.get(name) != state})
                reader.pending.update(dict.fromkeys(before.keys() - found.keys()))
            if reader.pending or reader.wants_snapshot:
                reader.changed.set()

    async def _depths(self, assistants: list[str]) -> dict[str, int]:
        now = asyncio.get_running_loop().time
        if not assistants or now() < self._skip_depths_until:
            return {}
        pipeline = self._redis.pipeline(transaction=False)
        for name in assistants:
            pipeline.llen(queue_name(name))
        try:
            async with asyncio.timeout(DEPTH_SECONDS):
                return dict(zip(assistants, await pipeline.execute(), strict=True))
        except (RedisError, OSError, TimeoutError):
            self._skip_depths_until = now() + POLL_SECONDS
            return {}


def states_of(totals: list[backlog.QueueTotals], workers: list[tuple[str, str, int]], depths: dict[str, int]) -> list[QueueState]:
    busy: dict[str, dict[str, int]] = {}
    for assistant, worker, running in workers:
        busy.setdefault(assistant, {})[worker] = running
    return [
        QueueState(
            assistant=item.assistant,
            queued=item.queued,
            running=item.running,
            redis_depth=depths.get(item.assistant),
            workers=busy.get(item.assistant, {}),
            oldest_seconds=item.oldest_seconds,
        )
        for item in totals
    ]
