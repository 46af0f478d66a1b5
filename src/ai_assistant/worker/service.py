"""The worker's event loop thread: all I/O runs here; the engine thread computes and Celery's threads only wait."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from redis.asyncio import Redis

from ai_assistant.database.migrate import current_revision, head_revision
from ai_assistant.database.session import Database
from ai_assistant.dispatch import Dispatcher
from ai_assistant.errors import DatabaseUnavailableError
from ai_assistant.metrics import WorkerMetrics
from ai_assistant.settings import WorkerSettings
from ai_assistant.tasks.lease import let_go
from ai_assistant.worker.backend import Backend, Host
from ai_assistant.worker.keeper import Keeper
from ai_assistant.worker.task_runner import TaskRunner

logger = logging.getLogger(__name__)

LAST_TASKS_SECONDS = 0.5
REDIS_SECONDS = 2.0
POOL_SIZE = 2
"""Database connections of a worker: the heartbeat, and everything else."""


class Service:
    """Made on the main thread, lives on its own."""

    def __init__(
        self,
        settings: WorkerSettings,
        backend: Backend[Any],
        metrics: WorkerMetrics,
        on_crash: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._on_crash = on_crash
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="io", daemon=True)
        self._thread.start()
        self._backend = backend
        self._metrics = metrics
        self._runner = self._call(self._make_runner())

    async def _make_runner(self) -> TaskRunner:
        url = self._settings.redis_url.get_secret_value()
        self._database = Database(self._settings.database_url.get_secret_value(), pool_size=POOL_SIZE)
        self._redis: Redis = Redis.from_url(url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=1.0)
        # a subscription waits for minutes, so it has no time-out of its own; keep-alives notice a dead peer
        self._channel: Redis = Redis.from_url(url, socket_connect_timeout=1.0, socket_keepalive=True, health_check_interval=10)
        self._dispatcher = Dispatcher(url)
        return TaskRunner(self._settings, self._database, self._redis, self._dispatcher, self._backend, self._metrics)

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def wait_for_schema(self) -> None:
        """Return when the database has the schema that this code needs; a newer one is fine, migrations only expand."""
        self._call(self._wait_for_schema())

    async def _wait_for_schema(self) -> None:
        needed, told = head_revision() or "", 0.0
        while True:
            problem = f"The database schema is not at {needed} yet; run `ai-assistant migrate`."
            with contextlib.suppress(DatabaseUnavailableError):
                if (await current_revision(self._database) or "") >= needed:
                    return
            if time.monotonic() - told > 10:
                logger.warning("Waiting for the database. %s", problem)
                told = time.monotonic()
            await asyncio.sleep(0.3)

    def start(self) -> None:
        """Begin to compute and to keep leases."""
        self._call(self._let_go())
        publisher = self._runner.publisher
        self._backend.start(
            Host(self._loop, self._database, self._metrics, self._settings.assistant, publisher.wake, self._on_crashed_backend)
        )
        asyncio.run_coroutine_threadsafe(self._background(), self._loop)

    async def _let_go(self) -> None:
        """Make what an earlier process of this name left behind available at once."""
        with contextlib.suppress(DatabaseUnavailableError):
            async with self._database.session() as session:
                count = await let_go(session, self._settings.worker_id)
            if count:
                logger.warning("%d answers were cut off when this worker was last killed; they go on in a moment", count)

    async def _background(self) -> None:
        keeper = Keeper(
            self._database,
            self._channel,
            self._runner.running,
            self._runner.cancel,
            lease_seconds=self._settings.lease_seconds,
        )
        self._tasks = [
            asyncio.create_task(keeper.beat(), name="heartbeat"),
            asyncio.create_task(keeper.listen(), name="cancel"),
            asyncio.create_task(self._runner.publisher.run(), name="publish"),
        ]

    def work(self) -> None:
        """Called on a Celery thread for each wake token: returns when its task is done or handed back."""
        self._call(self._runner.work())

    def drain(self) -> None:
        """Take no more tasks; answers that are not done in `drain_seconds` go back to the queue. Returns at once."""
        if not self._runner.is_draining:
            self._runner.is_draining = True
            asyncio.run_coroutine_threadsafe(self._drain(self._settings.drain_seconds), self._loop)

    async def _drain(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._runner.running() and time.monotonic() < until:  # noqa: ASYNC110 - it has a time limit anyway
            await asyncio.sleep(0.05)
        self._runner.is_drained = True
        for generation in self._runner.running():
            generation.leave()

    def stop(self) -> None:
        """After Celery has stopped: end the threads."""
        self._backend.close()
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(3.0)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        # bounded: Python 3.11 can lose a cancellation in wait_for, which the Redis client uses
        await asyncio.wait(self._tasks, timeout=LAST_TASKS_SECONDS)
        await self._redis.aclose()
        await self._channel.aclose()
        await self._database.close()
        self._dispatcher.close()

    def _on_crashed_backend(self, error: BaseException) -> None:
        """Without its engine this process is of no use: give everything up and let it be restarted."""
        self._runner.has_crashed = True
        self._runner.is_draining = True
        asyncio.run_coroutine_threadsafe(self._drain(0), self._loop)
        self._on_crash()

    def liveness(self) -> str | None:
        """None: well."""
        if not self._thread.is_alive():
            return "the event loop has stopped"
        return self._backend.liveness()

    def readiness(self) -> str | None:
        """None: answers need not wait for anything but a free slot."""
        return self.liveness() or self._backend.readiness()
