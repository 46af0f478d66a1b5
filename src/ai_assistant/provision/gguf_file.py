"""Reads GGUF: typed metadata and one dequantised tensor at a time. It knows the container, not what a model is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeVar

import gguf
import numpy as np
import numpy.typing as npt

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.gguf_header import TensorPlace, read_header

T = TypeVar("T")

# Values that are dequantised at once: 4 MB in fp32.
_CHUNK = 1 << 20

# Each is checked against its definition in the tests. What the gguf package can read beyond them (IQ2_XS, MXFP4, ...) is not.
_KINDS = frozenset(
    getattr(gguf.GGMLQuantizationType, name)
    for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
)


class GgufFile:
    """An open GGUF file. The file is mapped, so a tensor costs memory only while its caller holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # An empty file cannot be mapped.
            self._data: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
        except OSError as error:
            raise ModelPackageError(f"{path} cannot be read: {error.strerror}.") from error
        header = read_header(self._data, path.name)
        self._metadata = header.metadata
        self._tensors = header.tensors

    @property
    def tensor_names(self) -> frozenset[str]:
        return frozenset(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape in numpy's order, rows first."""
        return self._tensor(name).shape

    def tensor(self, name: str) -> npt.NDArray[np.float32]:
        """The tensor in fp32, whatever it is stored in; one of fp32 is a view of the mapped file."""
        place = self._tensor(name)
        stored = self._data[place.start : place.start + place.size]
        if place.kind == gguf.GGMLQuantizationType.F32:
            return np.asarray(stored.view("<f4")).reshape(place.shape)
        # gguf.dequantize needs twice the memory of its result.
        columns = place.shape[-1]
        rows = stored.reshape(math.prod(place.shape) // columns, -1)
        values = np.empty((len(rows), columns), np.float32)
        step = max(1, _CHUNK // columns)
        for start in range(0, len(rows), step):
            values[start : start + step] = gguf.dequantize(rows[start : start + step], place.kind)
        return values.reshape(place.shape)

    def refuse_unknown_kinds(self) -> None:
        """Names what a tensor is stored in unless it is a kind that is read; raises UnsupportedModelError."""
        unknown = {place.kind: name for name, place in self._tensors.items() if place.kind not in _KINDS}
        for kind, name in unknown.items():
            raise UnsupportedModelError(
                f"Tensor {name} is stored as {kind.name}, which is not supported; choose a file in Q8_0, Q6_K or Q4_K_M."
            )

    def has(self, key: str) -> bool:
        return key in self._metadata

    def text(self, key: str) -> str | None:
        return self._typed(key, str, "a text")

    def integer(self, key: str) -> int | None:
        return self._typed(key, int, "a whole number")

    def number(self, key: str) -> float | None:
        return self._typed(key, float, "a number")

    def boolean(self, key: str) -> bool | None:
        return self._typed(key, bool, "yes or no")

    def texts(self, key: str) -> list[str] | None:
        return self._typed(key, list, "a list of texts")

    def integers(self, key: str) -> npt.NDArray[np.integer[Any]] | None:
        return self._typed_array(key, np.integer, "whole numbers")

    def numbers(self, key: str) -> npt.NDArray[np.floating[Any]] | None:
        return self._typed_array(key, np.floating, "numbers")

    def required_integer(self, key: str) -> int:
        value = self.integer(key)
        if value is None:
            raise UnsupportedModelError(f"{self.path.name} has no metadata {key}.")
        return value

    def _tensor(self, name: str) -> TensorPlace:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise UnsupportedModelError(f"{self.path.name} has no tensor {name}.")
        return tensor

    def _typed(self, key: str, kind: type[T], description: str) -> T | None:
        value = self._metadata.get(key)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        # To Python a boolean is an integer too.
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return value
        raise UnsupportedModelError(f"Metadata {key} of {self.path.name} is not {description}.")

    def _typed_array(self, key: str, kind: type[Any], description: str) -> npt.NDArray[Any] | None:
        value = self._typed(key, np.ndarray, f"a list of {description}")
        if value is None or np.issubdtype(value.dtype, kind):
            return value
        raise UnsupportedModelError(f"Metadata {key} of {self.path.name} is not a list of {description}.")
