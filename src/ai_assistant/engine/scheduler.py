"""Who runs: first come, first served, as many as there are rows and memory for.

It decides and computes nothing. Rows 0..n-1 are the running sequences, row n is the one whose prompt is being read; a
sequence that leaves is replaced by the last one. When growing answers need more memory than there is, the youngest goes
back to the head of the queue and will be read again exactly; the oldest always goes on, so everyone finishes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ai_assistant.engine.kv_cache import KVCache
from ai_assistant.engine.sequence import FinishReason, Sequence


class Move(NamedTuple):
    """Copy the first `length` tokens of row `source` over row `target`."""

    source: int
    target: int
    length: int


class Departure(NamedTuple):
    """What has to happen to the rows when a sequence leaves: the moves in order, then `row` is free."""

    moves: tuple[Move, ...]
    row: int


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step: a token for every running row, then one chunk of one prompt."""

    decode: tuple[Sequence, ...]
    prefill: Sequence | None
    num_prefill_tokens: int
    longest: int
    """Tokens that the longest row must have room for."""


class Scheduler:
    """The queue and the rows."""

    def __init__(self, kv_cache: KVCache, prefill_chunk: int) -> None:
        self.kv_cache = kv_cache
        self.prefill_chunk = prefill_chunk
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.prefilling: Sequence | None = None
        self.num_preempted = 0
        self._num_arrivals = 0

    @property
    def in_rows(self) -> list[Sequence]:
        """The sequences that hold rows, in the order of their rows."""
        return self.running if self.prefilling is None else [*self.running, self.prefilling]

    @property
    def num_free_slots(self) -> int:
        """Rows that neither a running nor a waiting sequence will take."""
        in_rows = self.in_rows
        longest = max((sequence.num_tokens for sequence in (*in_rows, *self.waiting)), default=1)
        return max(0, self.kv_cache.rows_for(longest) - len(in_rows) - len(self.waiting))

    def add(self, sequence: Sequence) -> None:
        self._num_arrivals += 1
        sequence.arrival = self._num_arrivals
        self.waiting.append(sequence)

    def ended(self, now: float) -> Iterator[tuple[Sequence, FinishReason]]:
        """The sequences, waiting ones too, that were cancelled or ran out of time."""
        for sequence in (*self.in_rows, *self.waiting):
            if sequence.is_cancelled:
                yield sequence, FinishReason.CANCELLED
            elif sequence.deadline is not None and now >= sequence.deadline:
                yield sequence, FinishReason.DEADLINE

    def plan(self) -> tuple[StepPlan, list[Departure]]:
        """Decide the next step; the departures of sequences that had to give up their rows come first."""
        departures = list(self._preempt())
        self._admit()
        longest = max((sequence.num_tokens for sequence in self.in_rows), default=0)
        plan = StepPlan(tuple(self.running), self.prefilling, self._chunk(self.prefilling), longest)
        return plan, departures

    def start_decoding(self, sequence: Sequence) -> None:
        """The prompt is read: its row, the next one, becomes a running row."""
        self.running.append(sequence)
        self.prefilling = None

    def leave(self, sequence: Sequence) -> Departure | None:
        """Take a sequence out, wherever it is; None if it held no row."""
        if sequence is self.prefilling:
            self.prefilling = None
            return Departure((), len(self.running))
        if sequence not in self.running:
            self.waiting.remove(sequence)
            return None
        moves = []
        row, last = self.running.index(sequence), len(self.running) - 1
        if row != last:
            moves.append(Move(last, row, self.running[last].num_cached))
            self.running[row] = self.running[last]
        self.running.pop()
        if self.prefilling is None:
            return Departure(tuple(moves), last)
        moves.append(Move(last + 1, last, self.prefilling.num_cached))
        return Departure(tuple(moves), last + 1)

    def _preempt(self) -> Iterator[Departure]:
        while len(in_rows := self.in_rows) > self.kv_cache.rows_for(max((s.num_tokens for s in in_rows), default=1)):
            youngest = max(in_rows, key=lambda sequence: sequence.arrival)
            if departure := self.leave(youngest):
                yield departure
            youngest.restart()
            self.waiting.appendleft(youngest)
            self.num_preempted += 1

    def _admit(self) -> None:
        if self.prefilling is not None or not self.waiting:
            return
        candidates = [*self.running, self.waiting[0]]
        if len(candidates) <= self.kv_cache.rows_for(max(sequence.num_tokens for sequence in candidates)):
            self.prefilling = self.waiting.popleft()

    def _chunk(self, sequence: Sequence | None) -> int:
        if sequence is None:
            return 0
        rest = len(sequence.prompt_ids) - sequence.num_cached
        # A single token left over would be computed by other kernels than the rest of the prompt; the chunk before
        # gives it company.
        return self.prefill_chunk - 1 if rest == self.prefill_chunk + 1 else min(rest, self.prefill_chunk)
