"""Answers by the engine of this process."""

import asyncio
import logging

from ai_assistant.contracts import FinishReason
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.step_output import StepOutput
from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.errors import InvalidRequestError
from ai_assistant.streams import StreamText
from ai_assistant.tasks.claim import ClaimedTask
from ai_assistant.worker.backend import Host
from ai_assistant.worker.engine_thread import EngineThread
from ai_assistant.worker.generation import unless_ended
from ai_assistant.worker.prompts import prompt_ids
from ai_assistant.worker.step_metrics import StepMetrics
from ai_assistant.worker.token_generation import TokenGeneration

logger = logging.getLogger(__name__)

SAMPLING_FIELDS = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")
STUCK_STEP_SECONDS = 120.0
"""A step that takes longer than this means that the engine hangs."""
LAST_STEP_SECONDS = 10.0


class EngineBackend:
    """Owns the engine thread."""

    host: Host

    def __init__(self, engine: LLMEngine, tokenizer: Tokenizer, slots: int) -> None:
        self.slots = slots
        self.engine = EngineThread(engine, self._on_step, self._on_crash)
        self._tokenizer = tokenizer
        self._running: dict[str, TokenGeneration] = {}
        self._is_started = self._has_crashed = False

    def start(self, host: Host) -> None:
        self.host = host
        self._step_metrics = StepMetrics(host.metrics, host.assistant)
        self.engine.start()
        self._is_started = True

    def close(self) -> None:
        self.engine.stop()
        # the process must not end inside a step: the runtime's own threads would be torn down under it
        self.engine.join(LAST_STEP_SECONDS)

    def begin(self, task: ClaimedTask) -> TokenGeneration:
        return TokenGeneration(task, self._tokenizer)

    def resume(self, generation: TokenGeneration, before: StreamText) -> None:
        """Go on from the longer of checkpoint and stream, from token ids wherever they are this tokenizer's."""
        task = generation.task
        checkpoint = task.checkpoint_ids or []
        if task.tokenizer in (None, self._tokenizer.digest):
            ids = max(checkpoint, list(before.ids), key=len)
        else:
            ids = self._tokenizer.encode_plain(max(task.checkpoint_text, before.text, key=len))
        generation.resume(ids, published=before)
        logger.info("Continuing after %d tokens", len(ids), extra={"task_id": str(task.id), "attempt": task.attempt})

    async def answer(self, generation: TokenGeneration) -> None:
        prompt = prompt_ids(generation.task, self.host.database, self._tokenizer, self.engine.max_context)
        generation.prompt_ids = await unless_ended(generation, prompt)
        if generation.ended.is_set():
            return
        self._running[generation.seq_id] = generation
        try:
            await self._compute(generation)
        finally:
            self._running.pop(generation.seq_id, None)

    def stop(self, generation: TokenGeneration) -> None:
        self.engine.cancel(generation.seq_id)

    async def _compute(self, generation: TokenGeneration) -> None:
        task = generation.task
        assert generation.prompt_ids is not None
        try:
            sampling = SamplingParams(
                max_tokens=min(int(task.sampling["max_tokens"]), self.engine.max_context),
                seed=int(task.sampling["seed"]),
                logprobs=task.sampling.get("logprobs"),
                **{name: task.sampling[name] for name in SAMPLING_FIELDS if task.sampling.get(name) is not None},
            )
            sequence = Sequence(
                generation.seq_id,
                generation.prompt_ids,
                sampling,
                completion_ids=generation.ids,
                deadline=generation.claimed_at + task.seconds_left,
            )
            await unless_ended(generation, asyncio.wrap_future(self.engine.add(sequence)))
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error
        if generation.is_cancelled:
            self.engine.cancel(generation.seq_id)
        await generation.ended.wait()

    def _on_step(self, output: StepOutput) -> None:
        self.host.loop.call_soon_threadsafe(self.on_step, output)

    def _on_crash(self, error: BaseException) -> None:
        self._has_crashed = True
        self.host.crash(error)

    def liveness(self) -> str | None:
        if self._has_crashed or (self._is_started and not self.engine.is_alive()):
            return "the engine has stopped"
        if self.engine.seconds_in_step() > STUCK_STEP_SECONDS:
            return f"the engine has been in one step for {self.engine.seconds_in_step():.0f} s"
        return None

    def readiness(self) -> str | None:
        return None

    def on_step(self, output: StepOutput) -> None:
        """The results of one engine step."""
        for token in output.tokens:
            generation = self._running.get(token.seq_id)
            if generation is None:
                continue
            previous = generation.last_token_at
            is_first = generation.first_token_at is None
            if generation.push(token):
                self.engine.cancel(token.seq_id)
            if token.token_id is None:
                continue
            self.host.observe_token(generation, previous=previous, is_first=is_first)
        for failure in output.failures:
            if failed := self._running.get(failure.seq_id):
                failed.end(FinishReason.ERROR, failure.error)
        self._step_metrics.record(output.stats)
        self.host.wake()
