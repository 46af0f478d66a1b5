"""Checks of things that may hang: nobody waits for them longer than allowed, and a hanging one is not started twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ai_assistant.gateway.background import end

Result = TypeVar("Result")

PROBE_SECONDS = 2.0


class Probe(Generic[Result]):
    """One repeatable check, shared by all who ask while it runs."""

    def __init__(self, check: Callable[[], Awaitable[Result]], seconds: float = PROBE_SECONDS) -> None:
        self._check = check
        self._seconds = seconds
        self._running: asyncio.Task[Result] | None = None

    async def result(self) -> Result:
        """What the check returns or raises; TimeoutError if it takes longer."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
            self._running.add_done_callback(_retrieve)
        # not wait_for: cancelling a query on a frozen server can take as long as the query
        done, _ = await asyncio.wait({self._running}, timeout=self._seconds)
        if not done:
            raise TimeoutError
        return self._running.result()

    async def close(self) -> None:
        if self._running is not None:
            await end(self._running)

    async def _run(self) -> Result:
        return await self._check()


def _retrieve(task: "asyncio.Task[Result]") -> None:
    if not task.cancelled():
        task.exception()
