"""Work that outlives the request it belongs to: wake tokens, announcements, cancels of a client that has gone."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 0.1


class Background:
    """Keeps hold of tasks until they are done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self, seconds: float) -> None:
        """Give what runs a moment to end, then stop it."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            await end(*late)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Background work failed", exc_info=error)


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they are over. Once is not enough: before Python 3.12 a cancellation is lost if it comes
    at the moment when an `asyncio.wait_for` inside is done (the Redis client has many), and a loop would go on for ever."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("Stopped with an error (%r)", error)
