"""Collects an ONNX graph whose weights go straight to the data file, so that memory never holds more than one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
FLOAT = np.dtype(np.float32)
HALF = np.dtype(np.float16)
_OPSETS = (("", 21), (MICROSOFT, 1))
_IR_VERSION = 10

# Smaller tensors stay in the graph file; ORT folds constants and reads shapes from them.
_EXTERNAL_FROM = 1024
# A page, so that ORT can map the weights instead of copying them.
_ALIGNMENT = 4096
# Small enough for progress to be seen, large enough to cost nothing.
_PIECE = 1 << 24


class GraphBuilder:
    """Nodes in memory, weights in `folder / data_name`."""

    def __init__(self, folder: Path, data_name: str, *, on_written: Callable[[int], None] | None = None) -> None:
        self._data_name = data_name
        self._data = (folder / data_name).open("wb", buffering=0)
        self._on_written = on_written or (lambda _: None)
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []
        self._shared: dict[tuple[tuple[int, ...], str, bytes], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._data.close()

    def constant(self, name: str, values: np.ndarray[Any, Any]) -> str:
        """Adds a tensor and returns its name."""
        values = np.ascontiguousarray(values) if values.ndim else values
        if values.nbytes < _EXTERNAL_FROM:
            self._initializers.append(numpy_helper.from_array(values, name))
        else:
            self._initializers.append(self._written(name, values))
        return name

    def shared_constant(self, name: str, values: np.ndarray[Any, Any]) -> str:
        """Like `constant`; equal values (a tied output matrix and its embedding) are one tensor under the first one's name."""
        values = np.ascontiguousarray(values)
        key = values.shape, values.dtype.str, hashlib.blake2b(values.data.cast("B"), digest_size=32).digest()
        if key not in self._shared:
            self._shared[key] = self.constant(name, values)
        return self._shared[key]

    def node(self, operator: str, inputs: Sequence[str], *outputs: str, domain: str = "", **attributes: Any) -> str:
        """Adds a node named like its first output and returns that name."""
        self._nodes.append(helper.make_node(operator, list(inputs), list(outputs), name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def save(self, path: Path, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Writes the graph file."""
        graph = helper.make_graph(self._nodes, name, list(inputs), list(outputs), self._initializers)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="ai-assistant")
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _written(self, name: str, values: np.ndarray[Any, Any]) -> Any:
        offset = self._data.tell()
        if padding := -offset % _ALIGNMENT:
            self._write(memoryview(bytes(padding)))
            offset += padding
        self._write(values.data.cast("B"))
        tensor = TensorProto(name=name, dims=values.shape, data_location=TensorProto.EXTERNAL)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(values.dtype)
        place = {"location": self._data_name, "offset": offset, "length": values.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def _write(self, view: memoryview) -> None:
        # An unbuffered file may write less than asked.
        while len(view):
            written = self._data.write(view[:_PIECE])
            self._on_written(written)
            view = view[written:]


def float_input(name: str, shape: Sequence[str | int], dtype: np.dtype[Any] = FLOAT) -> Any:
    """Describes an input or output of floating-point numbers."""
    return helper.make_tensor_value_info(name, onnx_type(dtype), list(shape))


def onnx_type(dtype: np.dtype[Any]) -> int:
    """The number by which ONNX knows a type, as `Cast` takes it."""
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def integer_input(name: str, shape: Sequence[str | int], *, bits: int) -> Any:
    """Describes an int32 or int64 input."""
    kind = {32: onnx.TensorProto.INT32, 64: onnx.TensorProto.INT64}[bits]
    return helper.make_tensor_value_info(name, kind, list(shape))
