"""Who runs: first come, first served, as many as there are rows and memory for.

It decides and computes nothing. Rows 0..n-1 are the running sequences; prompts that are being read and parked rows are
anywhere behind them, and rows are exchanged when a sequence joins or leaves the first ones. When growing answers need
more memory than there is, parked rows go first; then the youngest goes back to the head of the queue and will be read
again exactly. The oldest always goes on, so everyone finishes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.kv_cache import KVCache
from ai_assistant.engine.parked_rows import MIN_SHARED_TOKENS, ParkedRow, ParkedRows
from ai_assistant.engine.prefill_budget import PrefillBudget
from ai_assistant.engine.row_changes import Copy, Free, RowChange, Swap
from ai_assistant.engine.sequence import FinishReason, Sequence

Holder: TypeAlias = Sequence | ParkedRow

_OLDEST_EVERY = 3
"""Every so many chunks one goes to the prompt that came first; the others go to the one with the least left."""


class Chunk(NamedTuple):
    """The next tokens of a prompt."""

    sequence: Sequence
    num_tokens: int


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step: a token for every running row, then chunks of prompts."""

    longest: int
    """Tokens that the longest row must have room for."""
    decode: tuple[Sequence, ...]
    chunks: tuple[Chunk, ...]


class Scheduler:
    """The queue and the rows. What happens to rows is to be done in the order of `row_changes`, before anything else."""

    def __init__(self, kv_cache: KVCache, config: EngineConfig) -> None:
        self.kv_cache = kv_cache
        self.budget = PrefillBudget(config.prefill_chunk)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.reading: list[Sequence] = []
        self.parked = ParkedRows(config.park_seconds)
        self.row_changes: list[RowChange] = []
        self.num_preempted = 0
        self.num_evicted = 0
        self.reused_tokens = 0
        self._reuses = config.prefix_reuse
        self._num_arrivals = 0
        self._num_chunks = 0

    @property
    def active(self) -> list[Sequence]:
        """The sequences that are in rows."""
        return [*self.running, *self.reading]

    @property
    def num_free_slots(self) -> int:
        """Rows that neither a running nor a waiting sequence will take; parked rows give way."""
        sequences = (*self.active, *self.waiting)
        longest = max((sequence.num_tokens for sequence in sequences), default=1)
        return max(0, self.kv_cache.rows_for(longest) - len(sequences))

    def row_lengths(self) -> list[int]:
        """The tokens in every row there is; 0 for those that are free."""
        lengths = [0] * self.kv_cache.num_slots
        for holder in self._holders():
            lengths[_row(holder)] = holder.num_cached
        return lengths

    def add(self, sequence: Sequence) -> None:
        self._num_arrivals += 1
        sequence.arrival = self._num_arrivals
        self.waiting.append(sequence)

    def ended(self, now: float) -> Iterator[tuple[Sequence, FinishReason]]:
        """The sequences, waiting ones too, that were cancelled or ran out of time."""
        for sequence in (*self.active, *self.waiting):
            if sequence.is_cancelled:
                yield sequence, FinishReason.CANCELLED
            elif sequence.deadline is not None and now >= sequence.deadline:
                yield sequence, FinishReason.DEADLINE

    def plan(self, now: float) -> StepPlan:
        """Decide the next step."""
        self.expire(now)
        self._make_memory()
        self._admit(now)
        longest = max((holder.num_tokens for holder in self._holders()), default=0)
        self._move_below(self.kv_cache.rows_for(longest))
        return StepPlan(longest, tuple(self.running), tuple(self._chunks()))

    def start_decoding(self, sequence: Sequence) -> None:
        """The prompt is read: its row becomes a running row."""
        self._swap(_row(sequence), len(self.running))
        self.reading.remove(sequence)
        self.running.append(sequence)

    def leave(self, sequence: Sequence, now: float, *, parks: bool = True) -> None:
        """Take a sequence out, wherever it is."""
        if sequence.row is None:
            self.waiting.remove(sequence)
            return
        if sequence in self.reading:
            self.reading.remove(sequence)
        else:
            self._swap(sequence.row, len(self.running) - 1)
            self.running.remove(sequence)
        if parks and self._reuses and sequence.num_cached >= MIN_SHARED_TOKENS:
            self.parked.add(ParkedRow(sequence.row, sequence.cached_ids(), sequence.num_exact, now))
        elif sequence.num_cached:
            self.row_changes.append(Free(sequence.row))
        sequence.row = None

    def expire(self, now: float) -> None:
        """Let go of the rows that nobody has used for long."""
        for parked in self.parked.expired(now):
            self._drop(parked)

    def evict(self) -> bool:
        """Let go of the parked row that was not used for longest. False: there is none."""
        if not self.parked.rows:
            return False
        self._drop(self.parked.rows[0])
        self.num_evicted += 1
        return True

    def _make_memory(self) -> None:
        while not self._fits(self._holders()):
            if self.evict():
                continue
            youngest = max(self.active, key=lambda sequence: sequence.arrival)
            self.leave(youngest, 0.0, parks=False)
            youngest.restart()
            self.waiting.appendleft(youngest)
            self.num_preempted += 1

    def _admit(self, now: float) -> None:
        """Take from the queue what there is room for; what a prompt shares with another row it starts with."""
        while self.waiting and self._fits([*self.active, self.waiting[0]]):
            sequence = self.waiting.popleft()
            source, length = self._best_match(sequence)
            takes_over = isinstance(source, ParkedRow) and source.num_cached - length < MIN_SHARED_TOKENS
            if isinstance(source, ParkedRow):
                self.parked.remove(source)
                if not takes_over:  # it goes last
                    source.used_at = now
                    self.parked.add(source)
            while not self._fits([*self._holders(), sequence]):
                if self.parked.rows[0] is source:
                    self.parked.remove(source)
                    takes_over = True
                else:
                    self.evict()
            if takes_over and source is not None:
                sequence.row = source.row
                self.row_changes.append(Free(_row(source), length))
                self._start_from(sequence, source, length)
            else:
                sequence.row = self._free_row()
                self._copy_beginning(sequence, source, length)
            self.reading.append(sequence)

    def _copy_beginning(self, sequence: Sequence, source: Holder | None, length: int) -> None:
        if source is not None and _row(sequence) < self.kv_cache.num_rows:  # else it is a row that is yet to be made
            self.row_changes.append(Copy(_row(source), _row(sequence), length))
            self._start_from(sequence, source, length)

    def _start_from(self, sequence: Sequence, source: Holder, length: int) -> None:
        sequence.start_from(length, min(source.num_exact, length))
        self.reused_tokens += length

    def _free_row(self) -> int:
        taken = {holder.row for holder in self._holders()}
        return next(row for row in range(self.kv_cache.num_slots) if row not in taken)

    def _best_match(self, sequence: Sequence) -> tuple[Holder | None, int]:
        """The row that saves the most reading, and how many tokens of it."""
        best: Holder | None = None
        best_length = MIN_SHARED_TOKENS - 1
        # A lone last token would be read by other kernels than those that read prompts.
        longest = sequence.prompt_ids.size - 2
        for source in self._holders() if self._reuses and longest > best_length else ():
            length = min(source.shared_tokens(sequence.prompt_ids), longest)
            if sequence.completion_ids:
                length = min(length, source.num_exact)
            if length > best_length or (length == best_length and isinstance(source, ParkedRow)):
                best, best_length = source, length
        return best, best_length

    def _chunks(self) -> Iterator[Chunk]:
        """Chunks of different prompts until the time for them is used up; at least one if there is any prompt."""
        seconds, candidates = self.budget.seconds(len(self.running)), list(self.reading)
        is_first = True
        while candidates:
            sequence = self._next_reader(candidates)
            if not sequence.num_cached:  # somebody who came with it may have read the same beginning meanwhile
                self._copy_beginning(sequence, *self._best_match(sequence))
            past = sequence.num_cached
            num_tokens = self.budget.chunk(seconds, past, sequence.num_unread, is_first=is_first)
            if not num_tokens:
                break
            yield Chunk(sequence, num_tokens)
            self._num_chunks += 1
            if not self.running:  # the first token of this prompt is worth more than the rest of another
                break
            seconds -= self.budget.cost.predict(num_tokens, past)
            candidates.remove(sequence)
            is_first = False

    def _next_reader(self, candidates: list[Sequence]) -> Sequence:
        if self._num_chunks % _OLDEST_EVERY == 0:
            return min(candidates, key=lambda sequence: sequence.arrival)
        return min(candidates, key=lambda sequence: (sequence.num_unread, sequence.arrival))

    def _holders(self) -> list[Holder]:
        """All that is in rows."""
        return [*self.running, *self.reading, *self.parked.rows]

    def _fits(self, holders: list[Holder] | list[Sequence]) -> bool:
        return len(holders) <= self.kv_cache.rows_for(max((holder.num_tokens for holder in holders), default=1))

    def _drop(self, parked: ParkedRow) -> None:
        self.parked.remove(parked)
        self.row_changes.append(Free(parked.row))

    def _move_below(self, limit: int) -> None:
        """There will be only `limit` rows: whoever is in another one moves to one that is free."""
        holders = self._holders()
        free = sorted(set(range(limit)) - {_row(holder) for holder in holders}, reverse=True)
        for holder in holders:
            if (row := _row(holder)) >= limit:
                self._swap(row, free.pop())

    def _swap(self, first: int, second: int) -> None:
        if first == second:
            return
        length = 0
        for holder in self._holders():
            if holder.row in (first, second):
                holder.row = second if holder.row == first else first
                length = max(length, holder.num_cached)
        if length:  # rows without tokens may be yet to be made
            self.row_changes.append(Swap(first, second, length))
        self.running.sort(key=_row)


def _row(holder: Holder) -> int:
    assert holder.row is not None
    return holder.row
