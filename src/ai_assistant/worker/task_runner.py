"""One wake token's work: claim a task, compute its answer, write its end. Every step survives PostgreSQL or Redis being away."""

import asyncio
import logging
import time
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ai_assistant.contracts import EVENTS_CHANNEL, QUEUES_CHANNEL, FinishReason, TaskState, stream_key
from ai_assistant.database.session import Database
from ai_assistant.dispatch import Dispatcher
from ai_assistant.errors import AssistantError, DatabaseUnavailableError
from ai_assistant.logs import request_id
from ai_assistant.metrics import WorkerMetrics
from ai_assistant.settings import WorkerSettings
from ai_assistant.streams import StreamText, StreamWriter
from ai_assistant.tasks.claim import ClaimedTask, claim
from ai_assistant.tasks.finish import Finished, finish
from ai_assistant.tasks.lease import exists, give_up, hand_back
from ai_assistant.worker.backend import Backend
from ai_assistant.worker.generation import Generation
from ai_assistant.worker.publisher import Publisher

logger = logging.getLogger(__name__)

RETRY = 0.5
HAND_BACK_SECONDS = 3.0


class TaskRunner:
    """Owns the running answers of this worker. All methods run on the worker's event loop."""

    def __init__(
        self,
        settings: WorkerSettings,
        database: Database,
        redis: "Redis",
        dispatcher: Dispatcher,
        backend: Backend[Any],
        metrics: WorkerMetrics,
    ) -> None:
        self._settings = settings
        self._database = database
        self._redis = redis
        self._dispatcher = dispatcher
        self._backend = backend
        self._metrics = metrics
        self._writer = StreamWriter(redis)
        self._running: dict[str, Generation] = {}
        self.publisher = Publisher(self._writer, self.running)
        self.is_draining = False
        """No more tasks are claimed."""
        self.is_drained = False
        """Whatever still runs goes back to the queue."""
        self.has_crashed = False
        """The engine broke, perhaps by one of these tasks: that is no hand-over, this attempt counts."""

    def running(self) -> list[Generation]:
        return list(self._running.values())

    async def work(self) -> None:
        """What one wake token is worth: at most one task."""
        claimed = await self._claim()
        if claimed is None:
            return
        hint = asyncio.create_task(self._hint(claimed.assistant))
        token = request_id.set(claimed.request_id)
        generation = self._backend.begin(claimed)
        try:
            # before it is registered: a heartbeat or a cancel must not see it without what earlier attempts had
            await self._take_over(generation)
            self._running[generation.seq_id] = generation
            if self.is_drained:
                generation.leave()
            await self._run(generation)
        finally:
            self._running.pop(generation.seq_id, None)
            self.publisher.forget(generation)
            self._backend.stop(generation)
            request_id.reset(token)
            await hint

    async def _claim(self) -> ClaimedTask | None:
        while not self.is_draining:
            try:
                async with self._database.session() as session:
                    return await claim(
                        session,
                        assistant=self._settings.assistant,
                        worker=self._settings.worker_id,
                        lease_seconds=self._settings.lease_seconds,
                    )
            except DatabaseUnavailableError as error:
                logger.warning("%s Waiting for it.", error.message)
                await asyncio.sleep(RETRY)
        return None

    async def _run(self, generation: Generation) -> None:
        task = generation.task
        extra = {"task_id": str(task.id), "attempt": task.attempt}
        logger.info("Claimed after %.2f s", task.waited_seconds, extra=extra)
        try:
            self._count_claim(task)
            if not generation.ended.is_set():
                await self._backend.answer(generation)
        except AssistantError as error:
            generation.end(FinishReason.ERROR, error)
        except Exception as error:
            logger.exception("The task failed", extra=extra)
            generation.end(FinishReason.ERROR, AssistantError(f"The answer could not be computed ({type(error).__name__})."))
        if generation.is_handed_back:
            await self._hand_back(generation)
        elif not generation.is_lost:
            await self._finish(generation)
        if generation.is_lost:
            await self._clear(generation)

    async def _take_over(self, generation: Generation) -> None:
        """Shut out earlier attempts and go on with what they had."""
        task = generation.task
        before = await self._fence(generation)
        if before is None:
            generation.lose()
            return
        for item in self.running():
            if item.task.id == task.id:
                # this worker's own earlier attempt: it froze, or PostgreSQL was away for long
                item.lose()
        if task.attempt > 1 and generation.logprobs is None:
            self._backend.resume(generation, before)
            self.publisher.wake()

    async def _fence(self, generation: Generation) -> StreamText | None:
        task = generation.task
        try:
            return await self._writer.fence(task.id, task.attempt)
        except (RedisError, OSError, TimeoutError, ValueError, KeyError) as error:
            logger.warning("The stream cannot be read (%s); going on from the checkpoint", error)
            return StreamText()

    def cancel(self, generation: Generation) -> None:
        """Stop computing; what there is of the answer is kept."""
        generation.is_cancelled = True
        self._backend.stop(generation)
        generation.end(FinishReason.CANCELLED)

    async def _finish(self, generation: Generation) -> None:
        """Write the end until it is written, or another attempt owns the task."""
        await self.publisher.finish(generation)
        outcome = generation.outcome()
        finished: Finished | None = None
        while not generation.is_lost:
            try:
                async with self._database.session() as session:
                    finished = await finish(session, outcome)
                break
            except DatabaseUnavailableError as error:
                logger.warning("%s The answer waits to be written.", error.message)
                await asyncio.sleep(RETRY)
        if finished is None:
            logger.warning("The answer was not written: another attempt owns the task", extra={"task_id": str(outcome.id)})
            generation.lose()
            return
        await self.publisher.end(generation)
        await self._announce(generation, finished)
        self._count(generation, finished.state)

    async def _clear(self, generation: Generation) -> None:
        """Of a user who was forgotten no text may stay: this worker may have published after the gateway had cleared up."""
        task_id = generation.task.id
        try:
            async with self._database.session() as session:
                if await exists(session, task_id):
                    return
            await self._redis.unlink(stream_key(task_id))
        except (AssistantError, RedisError, OSError, TimeoutError) as error:
            logger.debug("What is left of a lost task was not cleared up: %s", error)

    async def _hint(self, assistant: str) -> None:
        """The queue has changed: best effort, for whoever counts."""
        try:
            await self._redis.publish(QUEUES_CHANNEL, assistant)
        except (RedisError, OSError, TimeoutError) as error:
            logger.debug("A change of the queue was not announced: %s", error)

    async def _announce(self, generation: Generation, finished: Finished) -> None:
        if finished.next_task_id is not None:
            await self._dispatcher.push(generation.task.assistant, [finished.next_task_id])
        try:
            await self._redis.publish(EVENTS_CHANNEL, str(generation.task.id))
        except (RedisError, OSError, TimeoutError) as error:
            logger.debug("The end was not announced: %s", error)

    def _count_claim(self, task: ClaimedTask) -> None:
        if task.takeovers:
            self._metrics.takeovers.labels(task.assistant).inc()
        elif task.attempt == 1:
            self._metrics.queue_wait.labels(task.assistant).observe(task.waited_seconds)

    def _count(self, generation: Generation, state: TaskState) -> None:
        task, reason = generation.task, generation.finish_reason or FinishReason.ERROR
        self._metrics.tasks_finished.labels(task.assistant, state.value, reason.value).inc()
        self._metrics.prompt_tokens.labels(task.assistant).inc(generation.prompt_tokens or 0)
        self._metrics.completion_tokens.labels(task.assistant).inc(generation.completion_tokens)
        logger.info(
            "%s (%s) with %d tokens in %.2f s",
            state.value,
            reason.value,
            generation.completion_tokens,
            time.monotonic() - generation.claimed_at,
            extra={"task_id": str(task.id), "attempt": task.attempt},
        )

    async def _hand_back(self, generation: Generation) -> None:
        """Return the task to the queue for another worker; if PostgreSQL is away, its lease will run out instead."""
        await self.publisher.finish(generation)
        until = time.monotonic() + HAND_BACK_SECONDS
        while time.monotonic() < until:
            try:
                async with self._database.session() as session:
                    if self.has_crashed:
                        await give_up(session, generation.checkpoint(), lease_seconds=self._settings.lease_seconds)
                        return
                    held = await hand_back(session, generation.checkpoint(), lease_seconds=self._settings.lease_seconds)
                break
            except DatabaseUnavailableError:
                await asyncio.sleep(RETRY)
        else:
            logger.warning("The task could not be handed back; it goes on when its lease has run out")
            return
        if held:
            logger.info("Handed back after %d tokens", generation.completion_tokens, extra={"task_id": str(generation.task.id)})
            await self._hint(generation.task.assistant)
            await self._dispatcher.push(generation.task.assistant, [generation.task.id])
