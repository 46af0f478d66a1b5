"""The keys and values of all rows in this machine's memory: one array [rows, heads, capacity, head size] per layer and part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_assistant.engine.backends.pages import PAGE, PageMover, Pages


class KVBuffers:
    """`arrays` are what a graph is bound to; they are others after `resize`, and the same after everything else.

    Memory is taken only by tokens that were written: `free` gives the pages of a row back at once.
    """

    def __init__(self, count: int, heads: int, head_size: int, dtype: np.dtype[Any]) -> None:
        """`count` arrays: keys and values of every layer."""
        self._count, self._heads, self._head_size, self._dtype = count, heads, head_size, dtype
        self._token_bytes = head_size * dtype.itemsize  # of one head
        self._pages: list[Pages] = []
        self._mover = PageMover()

    def check(self) -> None:
        """Memory of this machine is always there."""

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """[heads, capacity, head size] of every row."""
        heads, capacity, head_size = self._pages[0].array.shape[1:]
        return heads, capacity, head_size

    def addresses(self, row: int) -> list[int]:
        """Where `row` begins in every array."""
        return [int(pages.array[row:].ctypes.data) for pages in self._pages]

    @property
    def arrays(self) -> list[NDArray[Any]]:
        return [pages.array for pages in self._pages]

    def resize(self, num_rows: int, capacity: int, lengths: Sequence[int]) -> None:
        """Room for `capacity` tokens or a few more, so that every row starts at a page.

        Raises OSError or MemoryError before anything is lost.
        """
        step = PAGE // math.gcd(PAGE, self._heads * self._token_bytes)
        shape = (num_rows, self._heads, -(-capacity // step) * step, self._head_size)
        new = [Pages(shape, self._dtype) for _ in range(self._count)]
        for index, old in enumerate(self._pages):
            for row, length in enumerate(lengths):
                if not length:  # a new row, which the old buffer may not have had
                    continue
                new[index].array[row, :, :length] = old.array[row, :, :length]
            self._pages[index] = new[index]  # gives the old one back before the next is filled
        self._pages = new

    def move(self, source: int, target: int, length: int) -> None:
        for pages in self._pages:
            pages.array[target, :, :length] = pages.array[source, :, :length]

    def swap(self, first: int, second: int, length: int) -> None:
        for pages in self._pages:
            one, other = pages.array[first], pages.array[second]
            if not self._mover.exchange(one, other):
                kept = one[:, :length].copy()
                one[:, :length] = other[:, :length]
                other[:, :length] = kept

    def free(self, row: int, keep: int) -> None:
        """Give back what a row holds after its first `keep` tokens."""
        for pages in self._pages:
            array = pages.array
            head_bytes = array.shape[2] * self._token_bytes
            start = row * self._heads * head_bytes
            if not keep:
                pages.give_back(start, start + self._heads * head_bytes)
                continue
            for head in range(self._heads):
                first = start + head * head_bytes
                pages.give_back(first + keep * self._token_bytes, first + head_bytes)
