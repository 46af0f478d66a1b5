"""Reads GGUF: typed metadata and one dequantised tensor at a time. It knows the container, not what a model is."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import gguf
import numpy as np
import numpy.typing as npt

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.gguf_header import TensorPlace, read_header

T = TypeVar("T")


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
        """The tensor in fp32, whatever it is stored in."""
        place = self._tensor(name)
        rows = self._data[place.start : place.start + place.size].reshape(*place.shape[:-1], -1)
        try:
            values = gguf.dequantize(rows, place.kind)
        except NotImplementedError as error:
            raise UnsupportedModelError(f"Tensor {name} is stored as {place.kind.name}, which is not supported.") from error
        # A plain fp32 tensor comes back as a view of the mapped file.
        return np.asarray(values, dtype=np.float32).reshape(place.shape)

    def text(self, key: str) -> str | None:
        return self._typed(key, str, "a text")

    def integer(self, key: str) -> int | None:
        return self._typed(key, int, "a whole number")

    def number(self, key: str) -> float | None:
        return self._typed(key, float, "a number")

    def texts(self, key: str) -> list[str] | None:
        return self._typed_list(key, str, "texts")

    def integers(self, key: str) -> list[int] | None:
        return self._typed_list(key, int, "whole numbers")

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
        if value is None or isinstance(value, kind):
            return value
        raise UnsupportedModelError(f"Metadata {key} of {self.path.name} is not {description}.")

    def _typed_list(self, key: str, kind: type[T], description: str) -> list[T] | None:
        value = self._typed(key, list, f"a list of {description}")
        if value is None or all(isinstance(item, kind) for item in value):
            return value
        raise UnsupportedModelError(f"Metadata {key} of {self.path.name} is not a list of {description}.")
