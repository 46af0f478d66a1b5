"""Publishing: new text of all running answers goes to their Redis Streams, one round trip for all of them.

The first token of an answer goes out at once. The rest goes out in turns, all answers together: every 50 ms, and less often
when there are many, for every entry costs the gateway and its reader time that the engine may need. Redis may be away or
emptied; then the answer is published again from its beginning as soon as it is possible, and until then readers have the
checkpoint.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable

from redis.exceptions import RedisError

from ai_assistant.contracts import StreamEntry
from ai_assistant.streams import Appended, Entry, StreamWriter
from ai_assistant.worker.generation import Generation

logger = logging.getLogger(__name__)

INTERVAL = 0.05
MAX_ENTRIES_PER_SECOND = 160
"""Of all answers together; with 16 of them a turn comes every 100 ms."""

RETRY = 0.5
"""Pause after Redis failed, in seconds."""


class Publisher:
    """One per worker."""

    def __init__(self, writer: StreamWriter, running: Callable[[], Iterable[Generation]]) -> None:
        self._writer = writer
        self._running = running
        self._wake = asyncio.Event()
        self._next_turn = 0.0
        self._begun: set[str] = set()
        """Answers whose readers have seen something; what is new of them can wait for the next turn."""
        self._is_failing = False

    def wake(self) -> None:
        """There may be new text."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting = [generation for generation in self._running() if generation.unpublished() is not None]
            left = self._next_turn - time.monotonic()
            due = waiting if left <= 0 else [item for item in waiting if item.seq_id not in self._begun]
            if due:
                if left <= 0:
                    self._next_turn = time.monotonic() + turn_seconds(len(due))
                await self.publish(due)
            if self._is_failing:
                await asyncio.sleep(RETRY)
                self._wake.set()
            elif len(due) < len(waiting):
                asyncio.get_running_loop().call_later(left, self._wake.set)

    async def publish(self, generations: Iterable[Generation]) -> None:
        """One entry for each answer that has new text."""
        async with contextlib.AsyncExitStack() as locks:
            batch: list[tuple[Generation, Entry]] = []
            for generation in generations:
                await locks.enter_async_context(generation.publishing)
                entry = generation.unpublished()
                if entry is not None:
                    batch.append((generation, entry))
            if not batch:
                return
            try:
                results = await self._writer.append([(generation.task.id, entry) for generation, entry in batch])
            except Exception as error:
                # whatever it is: this loop, and the ends of answers, must go on without Redis. The entries may or may not have
                # been written; only a publication from 0 is right in both cases
                self._fail(error)
                for generation, _ in batch:
                    generation.publish_again()
                return
            self._is_failing = False
            for (generation, entry), result in zip(batch, results, strict=True):
                self._settle(generation, entry, result)

    def _settle(self, generation: Generation, entry: Entry, result: Appended | RedisError) -> None:
        self._begun.add(generation.seq_id)
        if result is Appended.OK:
            generation.mark_published(entry)
        elif result is Appended.MISSING:
            logger.info("The stream is gone; publishing the answer again", extra={"task_id": str(generation.task.id)})
            generation.publish_again()
            self._begun.discard(generation.seq_id)
            self._wake.set()
        elif result is Appended.SUPERSEDED:
            generation.lose()
        else:
            assert isinstance(result, RedisError)
            self._fail(result)
            generation.publish_again()

    async def finish(self, generation: Generation) -> None:
        """The rest of the text; call `end` after the database has the end."""
        await self.publish([generation])
        if generation.unpublished() is not None and not self._is_failing:
            await self.publish([generation])

    async def end(self, generation: Generation) -> None:
        """Tell readers that the database has the final state."""
        entry = Entry(generation.task.attempt, StreamEntry.END, len(generation.text))
        with contextlib.suppress(Exception):
            await self._writer.append([(generation.task.id, entry)])

    def forget(self, generation: Generation) -> None:
        """It does not run any more, however it ended."""
        self._begun.discard(generation.seq_id)

    def _fail(self, error: Exception) -> None:
        if not self._is_failing:
            logger.warning("Redis cannot be written (%s); readers get the text from the database meanwhile", error)
        self._is_failing = True


def turn_seconds(num_answers: int) -> float:
    """Between two turns that publish so many answers."""
    return max(INTERVAL, num_answers / MAX_ENTRIES_PER_SECOND)
