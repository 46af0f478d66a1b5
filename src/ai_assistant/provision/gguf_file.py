"""Reads GGUF: typed metadata and one dequantised tensor at a time. It knows the container, not what a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import gguf
import numpy as np
import numpy.typing as npt

from ai_assistant.errors import ModelPackageError, UnsupportedModelError

T = TypeVar("T")


class GgufFile:
    """An open GGUF file. The file is mapped, so a tensor costs memory only while its caller holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as stream:
                magic = stream.read(4)
        except OSError as error:
            raise ModelPackageError(f"{path} cannot be read: {error.strerror}.") from error
        if magic != b"GGUF":
            raise UnsupportedModelError(f"{path.name} is not a GGUF file.")
        try:
            self._reader: Any = gguf.GGUFReader(path)
        except Exception as error:  # bytes from outside: numpy and gguf raise a dozen different things on them
            raise ModelPackageError(
                f"{path.name} is truncated or damaged ({type(error).__name__}); download it again."
            ) from error
        self._tensors: dict[str, Any] = {tensor.name: tensor for tensor in self._reader.tensors}

    @property
    def tensor_names(self) -> frozenset[str]:
        return frozenset(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape in numpy's order, rows first."""
        return tuple(int(size) for size in reversed(self._tensor(name).shape))

    def tensor(self, name: str) -> npt.NDArray[np.float32]:
        """The tensor in fp32, whatever it is stored in."""
        tensor = self._tensor(name)
        try:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            kind = tensor.tensor_type.name
            raise UnsupportedModelError(f"Tensor {name} is stored as {kind}, which is not supported.") from error
        # A plain fp32 tensor comes back as a view of the mapped file.
        return np.asarray(values, dtype=np.float32).reshape(self.shape(name))

    def has(self, key: str) -> bool:
        return key in self._reader.fields

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

    def _tensor(self, name: str) -> Any:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise UnsupportedModelError(f"{self.path.name} has no tensor {name}.")
        return tensor

    def _value(self, key: str) -> Any:
        field = self._reader.fields.get(key)
        if field is None:
            return None
        try:
            return field.contents()
        except Exception as error:  # as above
            raise ModelPackageError(f"Metadata {key} of {self.path.name} is damaged; download it again.") from error

    def _typed(self, key: str, kind: type[T], description: str) -> T | None:
        value = self._value(key)
        if value is None or isinstance(value, kind):
            return value
        raise UnsupportedModelError(f"Metadata {key} of {self.path.name} is not {description}.")

    def _typed_list(self, key: str, kind: type[T], description: str) -> list[T] | None:
        value = self._typed(key, list, f"a list of {description}")
        if value is None or all(isinstance(item, kind) for item in value):
            return value
        raise UnsupportedModelError(f"Metadata {key} of {self.path.name} is not a list of {description}.")
