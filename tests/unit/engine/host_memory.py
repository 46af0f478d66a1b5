"""A stand-in for a GPU's memory: this machine's, with a size, and with bounds that are checked."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np


class HostMemory:
    """Holds at most `size` bytes; a copy that leaves its blocks is an AssertionError."""

    def __init__(self, size: int = 1 << 30) -> None:
        self.size = size
        self.blocks: dict[int, np.ndarray[Any, Any]] = {}
        self.num_read = 0

    @property
    def used(self) -> int:
        return sum(block.nbytes for block in self.blocks.values())

    def allocate(self, size: int) -> int:
        if self.used + size > self.size:
            raise MemoryError("cudaMalloc: out of memory")
        block = np.zeros(size, np.uint8)
        self.blocks[block.ctypes.data] = block
        return int(block.ctypes.data)

    def free(self, address: int) -> None:
        del self.blocks[address]

    def copy(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int) -> None:
        self._check(target, target_pitch, width, height)
        self._check(source, source_pitch, width, height)
        self._pieces(target, target_pitch, source, source_pitch, width, height)

    def read(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int) -> None:
        self.num_read += 1
        self._check(source, source_pitch, width, height)
        self._pieces(target, target_pitch, source, source_pitch, width, height)

    def write(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int) -> None:
        self._check(target, target_pitch, width, height)
        self._pieces(target, target_pitch, source, source_pitch, width, height)

    def _check(self, address: int, pitch: int, width: int, height: int) -> None:
        assert width <= pitch
        assert any(
            start <= address and address + (height - 1) * pitch + width <= start + block.nbytes
            for start, block in self.blocks.items()
        ), "a copy outside of what was allocated"

    def _pieces(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int) -> None:
        for index in range(height):
            ctypes.memmove(target + index * target_pitch, source + index * source_pitch, width)
