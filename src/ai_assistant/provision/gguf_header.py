"""Reads the head of a GGUF file: its metadata and where its tensors lie.

The bytes come from outside. Every length is compared with what the file has left before anything of that size is read or
made, so that a damaged file costs neither memory nor time (the reader of the gguf package believes the lengths).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from ai_assistant.errors import ModelPackageError, UnsupportedModelError

_VERSIONS = (2, 3)
_BIG_ENDIAN_VERSIONS = tuple(int.from_bytes(version.to_bytes(4, "little"), "big") for version in (1, *_VERSIONS))
_SCALARS: dict[int, np.dtype[Any]] = {
    0: np.dtype("<u1"),
    1: np.dtype("<i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    7: np.dtype("?"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
_STRING, _ARRAY = 8, 9
_DEFAULT_ALIGNMENT = 32
_MOST_DIMENSIONS = 4
_SMALLEST_ENTRY = 12
# Far above every vocabulary; more would be decoded for minutes into gigabytes of Python objects.
_MOST_ITEMS = 1 << 22


@dataclass(frozen=True)
class TensorPlace:
    """One tensor: its numpy shape, how it is stored, and its bytes in the file."""

    shape: tuple[int, ...]
    kind: Any
    start: int
    size: int


@dataclass(frozen=True)
class GgufHeader:
    """`metadata` holds texts, numbers, booleans, lists of texts, and numpy arrays of numbers."""

    metadata: dict[str, Any]
    tensors: dict[str, TensorPlace]


def read_header(data: npt.NDArray[np.uint8], name: str) -> GgufHeader:
    """Reads the header of the file whose bytes are `data`; `name` is for the sentences."""
    return _Reader(data, name).read()


class _Reader:
    def __init__(self, data: npt.NDArray[np.uint8], name: str) -> None:
        self._data = data
        self._name = name
        self._offset = 0

    def read(self) -> GgufHeader:
        if self._take(4) != b"GGUF":
            raise UnsupportedModelError(f"{self._name} is not a GGUF file.")
        version = self._unsigned(4)
        if version in _BIG_ENDIAN_VERSIONS:
            raise UnsupportedModelError(f"{self._name} is big-endian GGUF, which is not supported; get the little-endian file.")
        if version not in _VERSIONS:
            raise UnsupportedModelError(f"{self._name} is GGUF version {version}; supported are 2 and 3, little-endian.")
        num_tensors, num_entries = self._count(_SMALLEST_ENTRY), self._count(_SMALLEST_ENTRY)
        metadata: dict[str, Any] = {}
        for _ in range(num_entries):
            key = self._text()
            if key in metadata:
                raise self._damaged(f"metadata {key} is there twice")
            metadata[key] = self._value(self._unsigned(4))
        infos = [self._tensor_info() for _ in range(num_tensors)]
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        # The format asks for a power of two of at least 8.
        if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
            raise self._damaged(f"its alignment is {alignment}")
        begin = -(-self._offset // alignment) * alignment
        tensors: dict[str, TensorPlace] = {}
        for name, shape, kind, offset in infos:
            if name in tensors:
                raise self._damaged(f"tensor {name} is there twice")
            if offset % alignment:
                raise self._damaged(f"tensor {name} starts at {offset}, which is no multiple of {alignment}")
            tensors[name] = self._place(name, shape, kind, begin + offset)
        self._check_overlap(tensors)
        return GgufHeader(metadata, tensors)

    def _check_overlap(self, tensors: dict[str, TensorPlace]) -> None:
        ordered = sorted(tensors.items(), key=lambda item: item[1].start)
        for (first, one), (second, other) in pairwise(ordered):
            if other.start < one.start + one.size:
                raise self._damaged(f"tensors {first} and {second} overlap")

    def _tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dimensions = self._text(), self._unsigned(4)
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise self._damaged(f"tensor {name} has {dimensions} dimensions")
        shape = tuple(reversed([self._unsigned(8) for _ in range(dimensions)]))
        if 0 in shape:
            raise self._damaged(f"tensor {name} is empty")
        return name, shape, self._unsigned(4), self._unsigned(8)

    def _place(self, name: str, shape: tuple[int, ...], number: int, start: int) -> TensorPlace:
        try:
            kind = gguf.GGMLQuantizationType(number)
        except ValueError as error:
            raise UnsupportedModelError(f"Tensor {name} is stored as type {number}, which is not supported.") from error
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        if shape[-1] % block:
            raise self._damaged(f"tensor {name} has rows of {shape[-1]} values in blocks of {block}")
        size = math.prod(shape) // block * block_bytes
        if start + size > len(self._data):
            raise self._damaged(f"tensor {name} lies beyond its end")
        return TensorPlace(shape, kind, start, size)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._scalars(kind, 1)[0].item()
        item_kind = self._unsigned(4)
        if item_kind == _STRING:
            return [self._text() for _ in range(self._count(8))]
        return self._scalars(item_kind, self._count(1))

    def _scalars(self, kind: int, count: int) -> npt.NDArray[Any]:
        dtype = _SCALARS.get(kind)
        if dtype is None:
            raise self._damaged(f"it has metadata of the type {kind}")
        return np.frombuffer(self._take(count * dtype.itemsize), dtype)

    def _text(self) -> str:
        try:
            return self._take(self._unsigned(8)).decode()
        except UnicodeDecodeError as error:
            raise self._damaged("a text in it is not UTF-8") from error

    def _count(self, smallest: int) -> int:
        """A number of things that take at least `smallest` bytes each."""
        count = self._unsigned(8)
        if count > min((len(self._data) - self._offset) // smallest, _MOST_ITEMS):
            raise self._damaged("it announces more than it holds")
        return count

    def _unsigned(self, size: int) -> int:
        value: int = struct.unpack("<I" if size == 4 else "<Q", self._take(size))[0]
        return value

    def _take(self, size: int) -> bytes:
        end = self._offset + size
        if end > len(self._data):
            raise self._damaged("it ends too early")
        taken = self._data[self._offset : end].tobytes()
        self._offset = end
        return taken

    def _damaged(self, what: str) -> ModelPackageError:
        return ModelPackageError(f"{self._name} is truncated or damaged ({what}); download it again.")
