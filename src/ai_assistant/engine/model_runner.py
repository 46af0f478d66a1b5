"""What the engine asks of a model: logits for tokens in rows.

A runner owns the weights and the keys and values; it decides nothing. Rows are numbered from 0, and the rows that
decode are always the first ones, so that a graph over the first B rows needs no copying. How a runner lays out its rows
is its own matter: buffers on a CPU or a GPU, or for a graph without slots a list with one set of growing tensors per
row (`max_rows = 1`). A remote server gives text and no logits: it stands beside the engine, not behind this protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Logits: TypeAlias = NDArray[np.float32]
TokenIds: TypeAlias = Sequence[int] | NDArray[np.int64]


class ModelRunner(Protocol):
    """Every method either succeeds or raises ModelError and leaves the tokens that were in the rows as they were."""

    vocab_size: int
    max_positions: int
    eos_token_ids: tuple[int, ...]
    kv_bytes_per_token: int
    max_rows: int | None
    """Rows this runner can hold at most; None: any number."""
    kv_memory_bytes: int | None
    """What its device has for keys and values; None: not limited, or nobody knows."""

    def resize(self, num_rows: int, capacity: int, lengths: Sequence[int]) -> None:
        """Make room for `num_rows` rows of `capacity` tokens; row r keeps its first `lengths[r]` tokens."""

    def prefill(self, row: int, token_ids: TokenIds, past: int) -> Logits:
        """Read tokens into one row that holds `past` tokens; the logits [vocabulary] after the last of them."""

    def decode(self, token_ids: Sequence[int], lengths: Sequence[int]) -> Logits:
        """Read one token into each of the first `len(token_ids)` rows; the logits [rows, vocabulary], valid until the next call.

        `lengths` counts the tokens held before the call by every row in use, of which there may be more than decode: a
        runner that must pad its batch writes behind a row's length or into a row that is not in use, so nothing is
        lost. A row's logits must not depend on the others.
        """

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of a row over another row."""

    def swap(self, first: int, second: int, length: int) -> None:
        """Exchange two rows, of which the longer holds `length` tokens."""

    def free(self, row: int, keep: int = 0) -> None:
        """What a row holds after its first `keep` tokens is not needed any more; its memory goes back to the system."""
