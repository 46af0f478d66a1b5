"""Answers by a model server elsewhere: one request at a time for each answer, asked again while there is hope."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Sequence
from typing import Any

from ai_assistant.contracts import FinishReason
from ai_assistant.engine.prompt import build_prompt
from ai_assistant.errors import ConfigurationError, PromptTooLongError
from ai_assistant.settings import WorkerSettings
from ai_assistant.streams import StreamText
from ai_assistant.tasks.claim import ClaimedTask
from ai_assistant.worker.backend import Host
from ai_assistant.worker.generation import unless_ended
from ai_assistant.worker.prompts import prompt_messages, prompt_share
from ai_assistant.worker.remote.client import RemoteClient, RemoteModel
from ai_assistant.worker.remote.dialect import Dialect
from ai_assistant.worker.remote.failures import FailureError, Retry, broken
from ai_assistant.worker.remote.prompt import EstimatedChat, Estimator
from ai_assistant.worker.remote.reply import ending
from ai_assistant.worker.remote.text_generation import TextGeneration

logger = logging.getLogger(__name__)

MAX_BROKEN = 5
"""An answer that breaks off so often will not become whole."""
MAX_SHORTENED = 12
SHORTER = 0.7
FIRST_PAUSE = 0.5
LAST_PAUSE = 10.0
PROBE_SECONDS = 10.0
LAST_WORDS_SECONDS = 5.0
"""How long the usage may take after the answer's end."""
CLOSE_SECONDS = 2.0
NO_LIMIT = 2**31


class RemoteBackend:
    """One model server."""

    host: Host

    def __init__(self, settings: WorkerSettings) -> None:
        self.slots = settings.remote_concurrency
        self._settings = settings
        self._dialect = Dialect()
        self._model = settings.remote_model or ""
        self._context = settings.remote_context
        self._client: RemoteClient | None = None
        self._probing: asyncio.Task[None] | None = None
        self._absence: str | None = "it has not answered yet"
        self._refusal: str | None = None

    def start(self, host: Host) -> None:
        """Waits for the server. Raises ConfigurationError for settings that it refuses."""
        self.host = host
        asyncio.run_coroutine_threadsafe(self._open(), host.loop).result()

    def close(self) -> None:
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._close(), self.host.loop).result(CLOSE_SECONDS)

    def begin(self, task: ClaimedTask) -> TextGeneration:
        return TextGeneration(task)

    def resume(self, generation: TextGeneration, before: StreamText) -> None:
        generation.resume(before)
        extra = {"task_id": str(generation.task.id), "attempt": generation.task.attempt}
        logger.info("Asking again; %d characters had been shown", len(generation.text), extra=extra)

    async def answer(self, generation: TextGeneration) -> None:
        in_use = self.host.metrics.slots_in_use.labels(self.host.assistant)
        in_use.inc()
        deadline = generation.claimed_at + generation.task.seconds_left
        try:
            async with asyncio.timeout_at(deadline):
                await unless_ended(generation, self._ask(generation))
        except TimeoutError:
            generation.end(FinishReason.DEADLINE, generation.waits_for)
        finally:
            in_use.dec()

    def stop(self, generation: TextGeneration) -> None:
        """Whoever stops an answer also ends it, and with that its connection."""

    def liveness(self) -> str | None:
        return None

    def readiness(self) -> str | None:
        problem = self._absence or self._refusal
        return problem and f"the model server at {self._settings.remote_url} is of no use: {problem}"

    async def _open(self) -> None:
        self._client = RemoteClient(self._settings)
        pauses = Pauses()
        while True:
            try:
                models = await self._client.models()
                break
            except FailureError as failure:
                if failure.is_lasting:
                    raise ConfigurationError(f"The model server at {self._settings.remote_url}: {failure.reason}.") from None
                self._note_absence(failure.reason)
            await asyncio.sleep(pauses.next())
        model = choose_model(models, self._settings.remote_model)
        self._model = model.name
        self._note_absence(None)
        self._context = self._settings.remote_context or model.context
        logger.info("Answers come from %s at %s", self._model, self._settings.remote_url)
        self._probing = asyncio.create_task(self._probe(), name="probe")

    async def _close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        if self._client is not None:
            await self._client.close()

    async def _probe(self) -> None:
        """Until cancelled: know whether the server is there."""
        assert self._client is not None
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await self._client.models()
                self._note_absence(None)
            except FailureError as failure:
                self._note_absence(failure.reason)

    def _note_absence(self, reason: str | None) -> None:
        """What is said of the server when it is asked for its models."""
        if reason is not None and reason != self._absence:
            logger.warning("Waiting for the model server at %s: %s", self._settings.remote_url, reason)
        elif reason is None and self._absence is not None:
            logger.info("The model server at %s is there", self._settings.remote_url)
        self._absence = reason

    async def _ask(self, generation: TextGeneration) -> None:
        """Ask until there is a whole answer. Raises AssistantError."""
        task = generation.task
        extra = {"task_id": str(task.id), "attempt": task.attempt}
        sampling = dict(task.sampling)
        messages = await prompt_messages(task, self.host.database)
        limit = NO_LIMIT if self._context is None else prompt_share(task, self._context)
        num_broken = num_shortened = 0
        pauses = Pauses()
        while True:
            chat = await asyncio.to_thread(build_prompt, Estimator(), messages, max_prompt_tokens=limit)
            generation.prompt_estimate = len(chat)
            generation.restart()
            try:
                await self._stream(generation, chat, sampling)
            except FailureError as failure:
                if failure.is_lasting:
                    logger.error("The model server at %s: %s", self._settings.remote_url, failure.reason, extra=extra)
                    self._refusal = failure.reason
                match failure.retry:
                    case Retry.NEVER:
                        raise failure.error from None
                    case Retry.WITHOUT if failure.parameter is not None:
                        self._dialect.forget(failure.parameter)
                        continue
                    case Retry.SHORTER:
                        num_shortened += 1
                        if num_shortened > MAX_SHORTENED:
                            raise PromptTooLongError from None
                        if sampling["max_tokens"] > len(chat):
                            sampling["max_tokens"] //= 2
                        else:
                            limit = int(len(chat) * SHORTER)
                        continue
                    case Retry.SOON:
                        num_broken += 1
                        if num_broken >= MAX_BROKEN:
                            raise failure.error from None
                pause = max(pauses.next(), failure.after or 0.0)
                until = generation.claimed_at + task.seconds_left
                if failure.after is not None and asyncio.get_running_loop().time() + failure.after > until:
                    raise failure.error from None
                logger.warning("The model server failed: %s; again in %.1f s", failure.reason, pause, extra=extra)
                generation.waits_for = failure.error
                await asyncio.sleep(pause)
            else:
                self._note_absence(None)
                self._refusal = None
                return

    async def _stream(self, generation: TextGeneration, chat: EstimatedChat, sampling: dict[str, Any]) -> None:
        """One request. Returns when the answer has ended; raises FailureError."""
        assert self._client is not None
        body = self._dialect.body(self._model, chat.messages, sampling)
        clock, seconds, reason = asyncio.get_running_loop().time, self._settings.remote_first_token_seconds, None
        until = clock() + seconds
        async with contextlib.aclosing(self._client.stream(body, self._dialect.droppable(body))) as pieces:
            while True:
                try:
                    async with asyncio.timeout_at(until):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    if reason is None:
                        raise broken(f"no token for {seconds:g} s") from None
                    break
                generation.waits_for = None
                if piece.is_progress:
                    seconds = self._settings.remote_token_seconds
                    until = clock() + seconds
                previous, is_first = generation.last_token_at, generation.first_token_at is None
                is_enough = generation.push(piece)
                if piece.text:
                    self.host.observe_token(generation, previous=previous, is_first=is_first)
                    self.host.wake()
                if is_enough:
                    return
                if reason is None and piece.finish_reason is not None:
                    reason, until = piece.finish_reason, clock() + LAST_WORDS_SECONDS
        generation.end(*ending(reason))


class Pauses:
    """Longer and longer, and not the same for all who wait."""

    def __init__(self) -> None:
        self._seconds = FIRST_PAUSE

    def next(self) -> float:
        """Seconds until the next try."""
        seconds, self._seconds = self._seconds, min(2 * self._seconds, LAST_PAUSE)
        return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - no secret hangs on it


def choose_model(models: Sequence[RemoteModel] | None, wanted: str | None) -> RemoteModel:
    """The model to ask for. Raises ConfigurationError where nobody has said which."""
    known = {model.name: model for model in models or ()}
    if wanted is not None:
        if known and wanted not in known:
            # some servers take names that they do not list
            logger.warning("The model server does not list %s; it has %s", wanted, listed(known))
        return known.get(wanted, RemoteModel(wanted, None))
    if len(known) == 1:
        return next(iter(known.values()))
    if not known:
        raise ConfigurationError("The model server lists no models: set AI_ASSISTANT_REMOTE_MODEL to the name that it knows.")
    raise ConfigurationError(f"The model server has several models: set AI_ASSISTANT_REMOTE_MODEL to one of {listed(known)}.")


def listed(names: Sequence[str] | dict[str, Any]) -> str:
    """Some names, in order."""
    shown = sorted(names)[:20]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
