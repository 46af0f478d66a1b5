"""Continuous batching: sequences join and leave between the steps of one batch.

The engine is driven by one thread, which calls `add`, `cancel` and `step`; nothing in here locks. When the runner
fails, only the sequences that cannot be computed even alone are dropped and named in `StepOutput.failures`; the others
go on with the tokens they would have had.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.kv_cache import KVCache
from ai_assistant.engine.model_runner import Logits, ModelRunner
from ai_assistant.engine.sampler import sample
from ai_assistant.engine.scheduler import Departure, Scheduler, StepPlan
from ai_assistant.engine.sequence import FinishReason, Sequence
from ai_assistant.errors import ModelError, PromptTooLongError


@dataclass(frozen=True, slots=True)
class TokenOutput:
    """A new token of a sequence, its end, or both. Without a token the sequence ended between two tokens."""

    seq_id: str
    token_id: int | None
    finish_reason: FinishReason | None
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SequenceFailure:
    """A sequence that the model could not compute; it is not in the engine any more."""

    seq_id: str
    error: ModelError


@dataclass(frozen=True, slots=True)
class StepStats:
    """What a step did and how full the engine is after it."""

    num_running: int
    num_waiting: int
    num_prefill_tokens: int
    num_decode_rows: int
    duration: float  # seconds
    kv_tokens: int
    kv_bytes: int  # reserved, not only used
    num_preempted: int  # since the engine was made


@dataclass(frozen=True, slots=True)
class StepOutput:
    """At most one token per sequence, and the sequences that were lost."""

    tokens: list[TokenOutput]
    stats: StepStats
    failures: list[SequenceFailure] = field(default_factory=list)


class LLMEngine:
    """Asks the scheduler what runs, runs it, and hands the tokens out."""

    def __init__(self, runner: ModelRunner, config: EngineConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.runner = runner
        self.kv_cache = KVCache(config, runner)
        self.scheduler = Scheduler(self.kv_cache, config.prefill_chunk)
        self.eos_token_ids = frozenset(runner.eos_token_ids)
        self._clock = clock
        self._sequences: dict[str, Sequence] = {}
        self._finished_on_arrival: list[TokenOutput] = []
        self._failures: list[SequenceFailure] = []

    @property
    def has_work(self) -> bool:
        return bool(self._sequences or self._finished_on_arrival)

    @property
    def num_running(self) -> int:
        return len(self.scheduler.in_rows)

    @property
    def num_waiting(self) -> int:
        return len(self.scheduler.waiting)

    @property
    def num_free_slots(self) -> int:
        return self.scheduler.num_free_slots

    @property
    def max_context(self) -> int:
        return self.kv_cache.max_context

    def add(self, sequence: Sequence) -> None:
        """Put a sequence into the queue; one whose known answer is complete ends with the next step."""
        if sequence.seq_id in self._sequences:
            raise ValueError(f"Sequence {sequence.seq_id} is in the engine already.")
        if not sequence.prompt_ids:
            raise ValueError(f"Sequence {sequence.seq_id} has an empty prompt.")
        ids = np.asarray((*sequence.prompt_ids, *sequence.completion_ids))
        if ids.min() < 0 or ids.max() >= self.runner.vocab_size:
            raise ValueError(f"Sequence {sequence.seq_id} has token ids outside the vocabulary of {self.runner.vocab_size}.")
        reason = sequence.finish_reason(self.eos_token_ids, self.max_context)
        if sequence.num_tokens + (reason is None) > self.max_context:
            raise PromptTooLongError(
                f"The prompt and the answer so far are {sequence.num_tokens} tokens; the model takes {self.max_context} "
                "with at least one to answer."
            )
        if reason is not None:
            self._finished_on_arrival.append(TokenOutput(sequence.seq_id, None, reason))
            return
        self._sequences[sequence.seq_id] = sequence
        self.scheduler.add(sequence)

    def cancel(self, seq_id: str) -> None:
        """End a sequence with the next step; one that is unknown, perhaps finished, is left alone."""
        if sequence := self._sequences.get(seq_id):
            sequence.is_cancelled = True

    def step(self) -> StepOutput:
        """Compute a token for every running row and one chunk of one prompt."""
        started = self._clock()
        tokens, self._finished_on_arrival = self._finished_on_arrival, []
        for sequence, reason in list(self.scheduler.ended(started)):
            self._leave(sequence)
            tokens.append(TokenOutput(sequence.seq_id, None, reason))
        plan, departures = self.scheduler.plan()
        for departure in departures:
            self._vacate(departure)
        if self._make_room(plan):
            tokens += self._decode(plan)
            tokens += self._prefill(plan)
        failures, self._failures = self._failures, []
        return StepOutput(tokens, self._stats(plan, started), failures)

    def _decode(self, plan: StepPlan) -> list[TokenOutput]:
        rows = list(plan.decode)
        if not rows:
            return []
        lost: dict[Sequence, ModelError] = {}
        try:
            logits = self.runner.decode([s.next_input_id for s in rows], [s.num_cached for s in self.scheduler.in_rows])
        except ModelError:
            rows, logits, lost = self._decode_alone(rows)
        for sequence in rows:
            sequence.num_cached += 1
        # Only now, for whoever leaves makes others move with all that they hold.
        for sequence, error in lost.items():
            self._fail(sequence, error)
        return self._take_tokens(rows, logits)

    def _decode_alone(self, rows: list[Sequence]) -> tuple[list[Sequence], Logits, dict[Sequence, ModelError]]:
        """The batch failed: try each row by itself and name those that fail even so.

        With a package that pads its rows these numbers may differ in the last bits from what the batch would have given.
        """
        logits = np.empty((len(rows), self.runner.vocab_size), np.float32)
        computed: list[Sequence] = []
        lost: dict[Sequence, ModelError] = {}
        for row, sequence in enumerate(rows):
            try:
                logits[len(computed)] = self.runner.prefill(row, [sequence.next_input_id], sequence.num_cached)
                computed.append(sequence)
            except ModelError as error:
                lost[sequence] = error
        return computed, logits[: len(computed)], lost

    def _prefill(self, plan: StepPlan) -> list[TokenOutput]:
        sequence = plan.prefill
        if sequence is None:
            return []
        start = sequence.num_cached
        chunk = sequence.prompt_ids[start : start + plan.num_prefill_tokens]
        try:
            # Rows may have left during this step, so the row is known only now.
            logits = self.runner.prefill(len(self.scheduler.running), chunk, start)
        except ModelError as error:
            self._fail(sequence, error)
            return []
        sequence.num_cached += len(chunk)
        if sequence.num_cached < len(sequence.prompt_ids):
            return []
        self.scheduler.start_decoding(sequence)
        return self._take_tokens([sequence], logits[np.newaxis])

    def _take_tokens(self, rows: list[Sequence], logits: Logits) -> list[TokenOutput]:
        """Choose the next token of every row that has read all its tokens; rows that still replay a known answer have theirs."""
        is_sound = np.isfinite(logits.max(axis=1, initial=-np.inf))  # a maximum is NaN when any of its numbers is
        wanted = []
        for row, sequence in enumerate(rows):
            if not is_sound[row]:
                self._fail(sequence, ModelError("The model computed numbers that are not finite."))
            elif sequence.needs_token:
                wanted.append(row)
        outputs = []
        for row, sampled in zip(wanted, sample(logits, rows, wanted), strict=True):
            sequence = rows[row]
            sequence.completion_ids.append(sampled.token_id)
            reason = sequence.finish_reason(self.eos_token_ids, self.max_context)
            if reason is not None:
                self._leave(sequence)
            outputs.append(TokenOutput(sequence.seq_id, sampled.token_id, reason, sampled.logprob, sampled.top_logprobs))
        return outputs

    def _make_room(self, plan: StepPlan) -> bool:
        """Give the rows the capacity they need; without memory for it the longest sequence is given up and the step is over."""
        capacity = self.kv_cache.new_capacity(plan.longest)
        if capacity == self.kv_cache.capacity:
            return True
        num_rows = self.kv_cache.rows_for(capacity)
        try:
            self.runner.resize(num_rows, capacity, [s.num_cached for s in self.scheduler.in_rows])
        except ModelError as error:
            if in_rows := self.scheduler.in_rows:
                self._fail(max(in_rows, key=lambda sequence: sequence.num_tokens), error)
            return False
        self.kv_cache.capacity, self.kv_cache.num_rows = capacity, num_rows
        return True

    def _fail(self, sequence: Sequence, error: ModelError) -> None:
        self._leave(sequence)
        self._failures.append(SequenceFailure(sequence.seq_id, error))

    def _leave(self, sequence: Sequence) -> None:
        del self._sequences[sequence.seq_id]
        if departure := self.scheduler.leave(sequence):
            self._vacate(departure)

    def _vacate(self, departure: Departure) -> None:
        for move in departure.moves:
            self.runner.move(*move)
        self.runner.free(departure.row)

    def _stats(self, plan: StepPlan, started: float) -> StepStats:
        return StepStats(
            num_running=self.num_running,
            num_waiting=self.num_waiting,
            num_prefill_tokens=plan.num_prefill_tokens,
            num_decode_rows=len(plan.decode),
            duration=self._clock() - started,
            kv_tokens=sum(sequence.num_cached for sequence in self.scheduler.in_rows),
            kv_bytes=self.kv_cache.num_bytes,
            num_preempted=self.scheduler.num_preempted,
        )
