"""The keys and values of all rows in a GPU's memory: one buffer [rows, heads, capacity, head size] per layer and part."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ai_assistant.engine.backends.cuda_runtime import CudaError


class DeviceMemory(Protocol):
    """Memory that has addresses and cannot be read in place; sizes and pitches in bytes."""

    def allocate(self, size: int) -> int:
        """Address of zero bytes; raises MemoryError where there is no room."""

    def free(self, address: int) -> None: ...

    def free_bytes(self) -> int: ...

    def copy(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int) -> None: ...

    def read(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int) -> None: ...

    def write(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int) -> None: ...


@dataclass(frozen=True, slots=True)
class _Layout:
    rows: int
    capacity: int
    heads: int
    token_bytes: int  # of one head

    @property
    def pitch(self) -> int:
        """From one head of a row to the next."""
        return self.capacity * self.token_bytes

    @property
    def row_bytes(self) -> int:
        return self.heads * self.pitch

    @property
    def size(self) -> int:
        return self.rows * self.row_bytes


class DeviceKVBuffers:
    """The device's memory is taken as a whole by `resize` and not per token, so `free` gives nothing back."""

    def __init__(self, memory: DeviceMemory, count: int, heads: int, head_size: int, dtype: np.dtype[Any]) -> None:
        """`count` buffers: keys and values of every layer."""
        self._memory = memory
        self._count = count
        self._head_size = head_size
        self._layout = _Layout(0, 0, heads, head_size * dtype.itemsize)
        self._addresses: list[int] = []
        self._spare = 0  # room for one row of one buffer, on the way of an exchange

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """[heads, capacity, head size] of every row."""
        return self._layout.heads, self._layout.capacity, self._head_size

    def addresses(self, row: int) -> list[int]:
        """Where `row` begins in every buffer."""
        return [address + row * self._layout.row_bytes for address in self._addresses]

    def resize(self, num_rows: int, capacity: int, lengths: Sequence[int]) -> None:
        """Raises MemoryError, with everything as it was, where the device has no room.

        While there is room for the old and the new buffers, rows are copied on the device, else by way of this machine's memory.
        """
        old, new = self._layout, replace(self._layout, rows=num_rows, capacity=capacity)
        try:
            buffers = self._allocate(new)
        except MemoryError:
            kept = self._read(lengths)
            self._release()
            try:
                self._adopt(new, self._allocate(new))
            except MemoryError:
                # What was given back a moment ago is there, unless somebody else on the device was faster.
                try:
                    self._adopt(old, self._allocate(old))
                except MemoryError as lost:
                    raise CudaError("another process took the device's memory, and the keys and values are lost") from lost
                raise
            finally:
                self._write(kept)
            return
        for target, source in zip(buffers, self._addresses, strict=False):
            for row, length in enumerate(lengths):
                if length:
                    places = target + row * new.row_bytes, new.pitch, source + row * old.row_bytes, old.pitch
                    self._memory.copy(*places, length * new.token_bytes, new.heads)
        self._release()
        self._adopt(new, buffers)

    def move(self, source: int, target: int, length: int) -> None:
        for into, out_of in zip(self.addresses(target), self.addresses(source), strict=True):
            self._copy(into, out_of, length)

    def swap(self, first: int, second: int, length: int) -> None:
        for one, other in zip(self.addresses(first), self.addresses(second), strict=True):
            self._copy(self._spare, one, length)
            self._copy(one, other, length)
            self._copy(other, self._spare, length)

    def free(self, row: int, keep: int = 0) -> None:
        """Nothing to do: what a row held before its length is never read."""

    def check(self) -> None:
        """Raises CudaError where the device does not answer any more."""
        self._memory.free_bytes()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the driver may be gone already when the process ends
            self._release()

    def _copy(self, target: int, source: int, length: int) -> None:
        layout = self._layout
        self._memory.copy(target, layout.pitch, source, layout.pitch, length * layout.token_bytes, layout.heads)

    def _allocate(self, layout: _Layout) -> list[int]:
        """All buffers and the spare row, or none of them and MemoryError."""
        with contextlib.ExitStack() as undo:
            taken = []
            for size in [layout.size] * self._count + [layout.row_bytes]:
                taken.append(address := self._memory.allocate(size))
                undo.callback(self._memory.free, address)
            undo.pop_all()
        return taken

    def _adopt(self, layout: _Layout, buffers: list[int]) -> None:
        self._layout, self._addresses, self._spare = layout, buffers[:-1], buffers[-1]

    def _release(self) -> None:
        for address in (*self._addresses, *([self._spare] if self._spare else [])):
            self._memory.free(address)
        self._addresses, self._spare = [], 0

    def _read(self, lengths: Sequence[int]) -> list[list[tuple[int, NDArray[np.uint8]]]]:
        """Of every buffer the rows that hold something: their number and their bytes [heads, length]."""
        layout, held = self._layout, [(row, length) for row, length in enumerate(lengths) if length]
        buffers = []
        for address in self._addresses:
            rows = [(row, np.empty((layout.heads, length * layout.token_bytes), np.uint8)) for row, length in held]
            for row, values in rows:
                width = values.shape[1]
                source = address + row * layout.row_bytes
                self._memory.read(values.ctypes.data, width, source, layout.pitch, width, layout.heads)
            buffers.append(rows)
        return buffers

    def _write(self, kept: list[list[tuple[int, NDArray[np.uint8]]]]) -> None:
        layout = self._layout
        for address, rows in zip(self._addresses, kept, strict=False):
            for row, values in rows:
                width = values.shape[1]
                self._memory.write(address + row * layout.row_bytes, layout.pitch, values.ctypes.data, width, width, layout.heads)
