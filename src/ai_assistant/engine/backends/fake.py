"""A model without weights: the second implementation of the runner's border, for tests and for trial deployments.

It really keeps the tokens of every row in buffers, and its logits are a hash of what a row holds. So a row that was
moved wrongly, mixed with another or read too early answers differently at once; reading a place that was never written
is an AssertionError.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ai_assistant.engine.model_runner import Logits, TokenIds

_EMPTY = -1
_GARBAGE = -2
_PRIME = np.uint64(0x100000001B3)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SPREAD = 8.0


class FakeRunner:
    """Deterministic: the same tokens give the same logits in every row, batch and process."""

    def __init__(
        self,
        *,
        vocab_size: int = 256,
        max_positions: int = 4096,
        eos_token_ids: tuple[int, ...] = (0,),
        kv_bytes_per_token: int = 16,
        pad_rows_to_multiple: int = 1,
        max_rows: int | None = None,
        step_delay: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.vocab_size = vocab_size
        self.max_positions = max_positions
        self.eos_token_ids = eos_token_ids
        self.kv_bytes_per_token = kv_bytes_per_token
        self.max_rows = max_rows
        self.kv_memory_bytes: int | None = None
        self.step_delay = step_delay  # seconds per prefill chunk and per decode step
        self._pad = pad_rows_to_multiple
        self._sleep = sleep
        self._rows: NDArray[np.int64] = np.empty((0, 0), np.int64)
        self._powers: NDArray[np.uint64] = np.ones(0, np.uint64)
        self._vocabulary = np.arange(1, vocab_size + 1, dtype=np.uint64) * _MIX[0]

    def resize(self, num_rows: int, capacity: int, lengths: Sequence[int]) -> None:
        num_rows = -(-num_rows // self._pad) * self._pad
        rows = np.full((num_rows, capacity), _EMPTY, np.int64)
        for row, length in enumerate(lengths):
            if not length:  # a new row, which the old buffer may not have had
                continue
            rows[row, :length] = self._rows[row, :length]
        self._rows = rows
        self._powers = np.cumprod(np.full(capacity, _PRIME), dtype=np.uint64)

    def prefill(self, row: int, token_ids: TokenIds, past: int) -> Logits:
        self._wait()
        self._rows[row, past : past + len(token_ids)] = token_ids
        return self._logits(row, past + len(token_ids))

    def decode(self, token_ids: Sequence[int], lengths: Sequence[int]) -> Logits:
        self._wait()
        count = len(token_ids)
        for row in range(-(-count // self._pad) * self._pad):
            length = lengths[row] if row < len(lengths) else 0
            self._rows[row, length] = token_ids[row] if row < count else _GARBAGE
        return np.stack([self._logits(row, lengths[row] + 1) for row in range(count)])

    def move(self, source: int, target: int, length: int) -> None:
        self._rows[target, :length] = self._rows[source, :length]
        self._rows[target, length:] = _EMPTY

    def swap(self, first: int, second: int, length: int) -> None:
        self._rows[[first, second], :length] = self._rows[[second, first], :length]
        self._rows[[first, second], length:] = _EMPTY

    def free(self, row: int, keep: int = 0) -> None:
        self._rows[row, keep:] = _EMPTY

    @property
    def num_tokens_held(self) -> int:
        """Tokens in all rows together: zero when nothing leaks."""
        return int((self._rows >= 0).sum())

    def _wait(self) -> None:
        if self.step_delay:
            self._sleep(self.step_delay)

    def _logits(self, row: int, length: int) -> Logits:
        held = self._rows[row, :length]
        if held.size != length or held.min() < 0:
            raise AssertionError(f"Row {row} does not hold the {length} tokens that were to be read.")
        history = ((held.astype(np.uint64) + np.uint64(1)) * self._powers[:length]).sum(dtype=np.uint64)
        mixed = self._vocabulary + history
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
        logits: Logits = (mixed >> np.uint64(40)).astype(np.float32) * np.float32(_SPREAD / 2**24)
        return logits
