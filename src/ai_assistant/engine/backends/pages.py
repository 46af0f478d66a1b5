"""Memory straight from the system, and what can be done with its pages without touching what is in them.

Blocks of this size from the C library's heap would take room before they are written to, and would be kept when they
are freed. Huge pages are switched off for the same reason: a row of 200 tokens would take 2 MiB in every layer and head.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAGE = mmap.PAGESIZE
_MAYMOVE_FIXED_DONTUNMAP = 1 | 2 | 4
_FAILED = ctypes.c_void_p(-1).value


class Pages:
    """An array in pages that take no room until they are written to; `array` starts at a page."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        size = math.prod(shape) * dtype.itemsize
        self._memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            self._memory.madvise(mmap.MADV_NOHUGEPAGE)
        self.array: NDArray[Any] = np.frombuffer(self._memory, dtype).reshape(shape)

    def give_back(self, start: int, end: int) -> None:
        """Bytes `start` to `end` are not needed any more: whole pages among them go back to the system and read as zero."""
        start, end = -(-start // PAGE) * PAGE, end // PAGE * PAGE
        if end > start:
            self._memory.madvise(mmap.MADV_DONTNEED, start, end - start)


class PageMover:
    """Exchanges ranges of whole pages by changing the page tables, which costs the same for a short row and a long one.

    Copying a row of 6,000 tokens into fresh pages stops every chat for a hundred milliseconds or more. Where the kernel
    cannot do it (it needs Linux 5.7), `exchange` says so and the caller copies.
    """

    def __init__(self) -> None:
        self._mremap: Any = getattr(ctypes.CDLL(None), "mremap", None)
        if self._mremap is not None:
            self._mremap.restype = ctypes.c_void_p
            self._mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
        self._spare: Pages | None = None

    def exchange(self, one: NDArray[Any], other: NDArray[Any]) -> bool:
        """Swap the contents of two arrays of whole pages and equal size. False: nothing was changed."""
        size = one.nbytes
        if self._mremap is None or size % PAGE or one.ctypes.data % PAGE or other.ctypes.data % PAGE:
            return False
        if self._spare is None or self._spare.array.nbytes != size:
            self._spare = Pages((size,), np.dtype(np.uint8))
        spare = self._spare.array
        if not self._move(one, spare):
            self._mremap = None
            return False
        # From here on the contents must arrive; what the kernel refuses to move, perhaps for want of mappings, is copied.
        for source, target in ((other, one), (spare, other)):
            if not self._move(source, target):
                target.reshape(-1).view(np.uint8)[:] = source.reshape(-1).view(np.uint8)
        self._spare.give_back(0, size)
        return True

    def _move(self, source: NDArray[Any], target: NDArray[Any]) -> bool:
        """The target gets the pages of the source; the source stays mapped and reads as zero."""
        size = source.nbytes
        found = self._mremap(source.ctypes.data, size, size, _MAYMOVE_FIXED_DONTUNMAP, target.ctypes.data)
        return bool(found != _FAILED)
