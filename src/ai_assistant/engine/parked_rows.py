"""Rows whose sequences are over, kept for the next turn of the conversation and for others that begin alike.

Looking for the row that a prompt can use compares arrays, once per prompt and row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IdArray = NDArray[np.int64]

MIN_SHARED_TOKENS = 32
"""A shorter beginning is computed again: finding a row for it is not worth a slot."""


@dataclass(slots=True)
class ParkedRow:
    """A row that nobody computes with, and the tokens whose keys and values it holds."""

    row: int
    token_ids: IdArray
    num_exact: int
    """Of these tokens so many were read as a prompt; the next one was decoded."""
    used_at: float

    @property
    def num_cached(self) -> int:
        return self.token_ids.size

    @property
    def num_tokens(self) -> int:
        """Room that the row needs: a batch that is padded may write behind the last token."""
        return self.num_cached + 1

    def shared_tokens(self, token_ids: IdArray) -> int:
        """How many of its first tokens are those of `token_ids`."""
        return common_prefix(self.token_ids, token_ids)


class ParkedRows:
    """In the order of their last use; the first is the first to go."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.rows: list[ParkedRow] = []

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_tokens(self) -> int:
        return sum(parked.num_cached for parked in self.rows)

    def add(self, parked: ParkedRow) -> None:
        self.rows.append(parked)

    def remove(self, parked: ParkedRow) -> None:
        self.rows.remove(parked)

    def expired(self, now: float) -> list[ParkedRow]:
        return [parked for parked in self.rows if now >= parked.used_at + self.seconds]

    def next_expiry(self) -> float | None:
        """When the first of them is to go, by the clock of `used_at`."""
        return self.rows[0].used_at + self.seconds if self.rows else None


def common_prefix(one: IdArray, other: IdArray) -> int:
    """The number of tokens in which two texts begin alike."""
    length = min(one.size, other.size)
    differs = one[:length] != other[:length]
    first = int(differs.argmax()) if length else 0
    return first if length and differs[first] else length
