"""Keeping what this worker has claimed: the heartbeat, and cancel requests as they are announced."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ai_assistant.contracts import CANCEL_CHANNEL
from ai_assistant.database.session import Database
from ai_assistant.errors import DatabaseUnavailableError
from ai_assistant.streams import decode
from ai_assistant.tasks.lease import heartbeat
from ai_assistant.worker.generation import Generation

logger = logging.getLogger(__name__)

HEARTBEAT = 1.0
RETRY = 0.4
"""While PostgreSQL is away, often: after its return the holder must renew before a sweep calls it lost."""


class Keeper:
    """One per worker."""

    def __init__(
        self,
        database: Database,
        redis: "Redis",
        running: Callable[[], Iterable[Generation]],
        cancel: Callable[[Generation], None],
        *,
        lease_seconds: float,
    ) -> None:
        self._database = database
        self._redis = redis
        self._running = running
        self._cancel = cancel
        self._lease_seconds = lease_seconds
        self._interval = min(HEARTBEAT, lease_seconds / 3)

    async def beat(self) -> None:
        """Until cancelled: save and renew everything once a second."""
        is_failing = False
        while True:
            try:
                await self.renew()
                if is_failing:
                    logger.info("The database is back; leases renewed")
                is_failing = False
            except DatabaseUnavailableError as error:
                if not is_failing:
                    logger.warning("%s Running answers go on meanwhile.", error.message)
                is_failing = True
            except Exception:
                logger.exception("The heartbeat failed")
            await asyncio.sleep(RETRY if is_failing else self._interval)

    async def renew(self) -> None:
        """One heartbeat. Raises DatabaseUnavailableError."""
        held = {item.task.id: item for item in self._running() if not item.ended.is_set()}
        if not held:
            return
        async with self._database.session() as session:
            flags = await heartbeat(session, [item.checkpoint() for item in held.values()], lease_seconds=self._lease_seconds)
        for task_id, generation in held.items():
            # one that ended meanwhile has been written by its own end, not lost
            if generation.ended.is_set():
                continue
            if task_id not in flags:
                logger.warning("Another worker has taken this task over, or it is gone", extra={"task_id": str(task_id)})
                generation.lose()
            elif flags[task_id]:
                self._cancel(generation)

    async def listen(self) -> None:
        """Until cancelled: obey cancel requests as soon as the gateway announces them."""
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(CANCEL_CHANNEL)
                    while True:
                        message = await channel.get_message(ignore_subscribe_messages=True, timeout=5.0)
                        if message is not None:
                            self._obey(decode(message["data"]))
            except (RedisError, OSError, TimeoutError):
                # the flag comes with the heartbeat too
                await asyncio.sleep(1.0)
            except Exception:
                logger.exception("Listening for cancel requests failed; trying again")
                await asyncio.sleep(1.0)

    def _obey(self, data: str) -> None:
        try:
            task_id = uuid.UUID(data)
        except ValueError:
            return
        for generation in self._running():
            if generation.task.id == task_id:
                self._cancel(generation)
