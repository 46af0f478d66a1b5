"""Continuous batching: sequences join and leave between the steps of one batch.

The engine is driven by one thread, which calls `add`, `cancel` and `step`; nothing in here locks. When the runner
fails, only the sequences that cannot be computed even alone are dropped and named in `StepOutput.failures`; the others
go on with the tokens they would have had.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.kv_cache import KVCache
from ai_assistant.engine.model_runner import Logits, ModelRunner
from ai_assistant.engine.row_changes import Copy, Free, Swap
from ai_assistant.engine.sampler import sample
from ai_assistant.engine.scheduler import Chunk, Scheduler, StepPlan
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.step_output import SequenceFailure, StepOutput, StepStats, TokenOutput
from ai_assistant.errors import ModelError, PromptTooLongError


class LLMEngine:
    """Asks the scheduler what runs, runs it, and hands the tokens out."""

    def __init__(self, runner: ModelRunner, config: EngineConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.runner = runner
        self.kv_cache = KVCache(config, runner)
        self.scheduler = Scheduler(self.kv_cache, config)
        self.eos_token_ids = frozenset(runner.eos_token_ids)
        self._clock = clock
        self._sequences: dict[str, Sequence] = {}
        self._finished_on_arrival: list[TokenOutput] = []
        self._failures: list[SequenceFailure] = []
        self._shrinks = True  # False: the last attempt to make the rows smaller failed

    @property
    def has_work(self) -> bool:
        return bool(self._sequences or self._finished_on_arrival)

    @property
    def num_running(self) -> int:
        return len(self.scheduler.active)

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
        if not sequence.prompt_ids.size:
            raise ValueError(f"Sequence {sequence.seq_id} has an empty prompt.")
        ids = np.concatenate((sequence.prompt_ids, sequence.completion_ids))
        if ids.min() < 0 or ids.max() >= self.runner.vocab_size:
            raise ValueError(f"Sequence {sequence.seq_id} has token ids outside the vocabulary of {self.runner.vocab_size}.")
        if sequence.prompt_ids.size >= self.max_context:
            raise PromptTooLongError(
                f"The prompt is {sequence.prompt_ids.size} tokens; the model takes {self.max_context} with at "
                "least one to answer."
            )
        # A known answer that is longer than the context comes from a worker with a longer one, and ends here.
        if (reason := sequence.finish_reason(self.eos_token_ids, self.max_context)) is not None:
            self._finished_on_arrival.append(TokenOutput(sequence.seq_id, None, reason))
            return
        self._sequences[sequence.seq_id] = sequence
        self._shrinks = True
        self.scheduler.add(sequence)

    def cancel(self, seq_id: str) -> None:
        """End a sequence with the next step; one that is unknown, perhaps finished, is left alone."""
        if sequence := self._sequences.get(seq_id):
            sequence.is_cancelled = True

    def step(self) -> StepOutput:
        """Compute a token for every running row and the chunks of prompts that there is time for."""
        started = self._clock()
        tokens, self._finished_on_arrival = self._finished_on_arrival, []
        for sequence, reason in list(self.scheduler.ended(started)):
            self._leave(sequence)
            tokens.append(TokenOutput(sequence.seq_id, None, reason))
        plan = self.scheduler.plan(started)
        self._change_rows()
        decoded = started
        if self._make_room(plan.longest):
            tokens += self._decode(plan)
            decoded = self._clock()
            tokens += [token for chunk in plan.chunks for token in self._prefill(chunk)]
        failures, self._failures = self._failures, []
        return StepOutput(tokens, self._stats(plan, started, decoded), failures)

    def seconds_until_idle_work(self) -> float | None:
        """How long `tidy` has nothing to do while no sequence comes; None: for ever."""
        expiry = self.scheduler.parked.next_expiry()
        if expiry is None:
            return 0.0 if self._is_oversized else None
        return max(0.0, expiry - self._clock())

    def tidy(self) -> StepOutput:
        """Give back the memory of rows that nobody came back to. For an engine without work."""
        started = self._clock()
        self.scheduler.expire(started)
        self._change_rows()
        if self._is_oversized:
            self._make_room(0)
        return StepOutput([], self._stats(StepPlan(0, (), ()), started, started))

    @property
    def _is_oversized(self) -> bool:
        """The rows are empty and so large that they would be made smaller."""
        is_empty = not (self.has_work or self.scheduler.parked.rows)
        return is_empty and self._shrinks and self.kv_cache.new_capacity(0) < self.kv_cache.capacity

    def _decode(self, plan: StepPlan) -> list[TokenOutput]:
        rows = list(plan.decode)
        if not rows:
            return []
        started = self._clock()
        lost: dict[Sequence, ModelError] = {}
        try:
            logits = self.runner.decode([s.next_input_id for s in rows], self.scheduler.row_lengths())
        except ModelError:
            rows, logits, lost = self._decode_alone(rows)
        for sequence in rows:
            sequence.num_cached += 1
        # Only now, for whoever leaves makes others change rows with all that they hold.
        for sequence, error in lost.items():
            self._fail(sequence, error)
        tokens = self._take_tokens(rows, logits)
        self.scheduler.budget.pace.observe(len(plan.decode), self._clock() - started)
        return tokens

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

    def _prefill(self, chunk: Chunk) -> list[TokenOutput]:
        sequence, started = chunk.sequence, self._clock()
        start = sequence.num_cached
        assert sequence.row is not None
        try:
            logits = self.runner.prefill(sequence.row, sequence.prompt_ids[start : start + chunk.num_tokens], start)
        except ModelError as error:
            self._fail(sequence, error)
            return []
        self.scheduler.budget.cost.observe(chunk.num_tokens, start, self._clock() - started)
        sequence.num_cached += chunk.num_tokens
        if sequence.num_unread:
            return []
        self.scheduler.start_decoding(sequence)
        self._change_rows()
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

    def _make_room(self, longest: int) -> bool:
        """Give the rows the capacity they need; without memory for it the longest sequence is given up and the step is over."""
        capacity = self.kv_cache.new_capacity(longest)
        is_smaller = capacity < self.kv_cache.capacity
        if capacity == self.kv_cache.capacity or (is_smaller and not self._shrinks):
            return True
        num_rows = self.kv_cache.rows_for(capacity)
        try:
            self.runner.resize(num_rows, capacity, self.scheduler.row_lengths())
        except ModelError as error:
            if is_smaller:  # what there is will do, and a wish for less is no reason to lose anything
                self._shrinks = False
                return True
            has_evicted = False
            while self.scheduler.evict():
                has_evicted = True
            self._change_rows()
            if not has_evicted and (active := self.scheduler.active):
                self._fail(max(active, key=lambda sequence: sequence.num_tokens), error)
            return False
        self.kv_cache.capacity, self.kv_cache.num_rows = capacity, num_rows
        return True

    def _fail(self, sequence: Sequence, error: ModelError) -> None:
        self._leave(sequence, parks=False)
        self._failures.append(SequenceFailure(sequence.seq_id, error))

    def _leave(self, sequence: Sequence, *, parks: bool = True) -> None:
        del self._sequences[sequence.seq_id]
        self.scheduler.leave(sequence, self._clock(), parks=parks)
        self._change_rows()

    def _change_rows(self) -> None:
        """Do what the scheduler has decided about rows."""
        for change in self.scheduler.row_changes:
            match change:
                case Swap():
                    self.runner.swap(*change)
                case Copy():
                    self.runner.move(*change)
                case Free():
                    self.runner.free(*change)
        self.scheduler.row_changes.clear()

    def _stats(self, plan: StepPlan, started: float, decoded: float) -> StepStats:
        now, scheduler = self._clock(), self.scheduler
        return StepStats(
            num_running=self.num_running,
            num_waiting=self.num_waiting,
            num_prefill_tokens=sum(chunk.num_tokens for chunk in plan.chunks),
            num_decode_rows=len(plan.decode),
            duration=now - started,
            decode_seconds=decoded - started,
            prefill_seconds=now - decoded,
            kv_tokens=sum(sequence.num_cached for sequence in scheduler.active),
            kv_bytes=self.kv_cache.num_bytes,
            num_parked=len(scheduler.parked),
            parked_tokens=scheduler.parked.num_tokens,
            num_preempted=scheduler.num_preempted,
            num_evicted=scheduler.num_evicted,
            reused_tokens=scheduler.reused_tokens,
        )
