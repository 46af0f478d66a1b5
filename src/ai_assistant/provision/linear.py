"""How a matrix is multiplied in the graph: one class per precision."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ai_assistant.provision.checkpoint import Weights
from ai_assistant.provision.graph_builder import FLOAT, MICROSOFT, GraphBuilder

# Keeps a row or a column of zeros from being divided by zero; far below any activation that carries meaning.
_SMALLEST_SCALE = 1e-10
_INT8_MAX = 127
_UINT8_ZERO = 128


class Linear(Protocol):
    """Multiplies rows [T, K] by a weight [N, K] as PyTorch keeps it; the result [T, N] is named `output`."""

    bytes_per_weight: int
    activation: np.dtype[Any]
    """Of `rows`, the result, the embedding, the rotations and the keys and values."""

    def multiply(self, rows: str, weight: Weights, name: str, output: str) -> str: ...


class DenseLinear:
    """fp32: the reference."""

    bytes_per_weight = 4
    activation = FLOAT

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder

    def multiply(self, rows: str, weight: Weights, name: str, output: str) -> str:
        transposed = self._builder.constant(f"{name}.weight", weight.T)
        return self._builder.node("MatMul", [rows, transposed], output)


class Int8Linear:
    """W8A8: a scale per output channel of the weight and per row (token) of the activation.

    Sums of int8 products are exact, and a row's scale is its own; so a row's result does not depend on who shares the batch.
    """

    bytes_per_weight = 1
    activation = FLOAT

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder
        # Consumers of one activation share its quantised form: rows -> (quantised, scales).
        self._quantised: dict[str, tuple[str, str]] = {}
        builder.constant("int8/one", np.array(1, np.float32))
        builder.constant("int8/inverse_max", np.array(1 / _INT8_MAX, np.float32))
        builder.constant("int8/smallest", np.array(_SMALLEST_SCALE, np.float32))
        builder.constant("int8/last_axis", np.array([-1], np.int64))
        builder.constant("int8/activation_zero", np.array(_UINT8_ZERO, np.uint8))
        builder.constant("int8/weight_zero", np.array(0, np.int8))

    def multiply(self, rows: str, weight: Weights, name: str, output: str) -> str:
        builder = self._builder
        quantised_rows, row_scales = self._quantise_rows(rows)
        scales = np.maximum(np.abs(weight).max(axis=1) / np.float32(_INT8_MAX), np.float32(_SMALLEST_SCALE))
        # In place: the output matrix of a large model is gigabytes.
        scaled = weight / scales[:, None]
        np.rint(scaled, out=scaled)
        quantised = np.clip(scaled, -_INT8_MAX, _INT8_MAX, out=scaled).astype(np.int8)
        inputs = [
            quantised_rows,
            builder.constant(f"{name}.weight", quantised.T),
            "int8/one",
            builder.constant(f"{name}.scales", scales),
            "int8/activation_zero",
            "int8/weight_zero",
        ]
        product = builder.node("MatMulIntegerToFloat", inputs, f"{name}/product", domain=MICROSOFT)
        return builder.node("Mul", [product, row_scales], output)

    def _quantise_rows(self, rows: str) -> tuple[str, str]:
        if rows not in self._quantised:
            node = self._builder.node
            magnitude = node("Abs", [rows], f"{rows}/abs")
            largest = node("ReduceMax", [magnitude, "int8/last_axis"], f"{rows}/max", keepdims=1)
            guarded = node("Max", [largest, "int8/smallest"], f"{rows}/max_guarded")
            scales = node("Mul", [guarded, "int8/inverse_max"], f"{rows}/scales")
            scaled = node("Div", [rows, scales], f"{rows}/scaled")
            quantised = node("QuantizeLinear", [scaled, "int8/one", "int8/activation_zero"], f"{rows}/int8")
            self._quantised[rows] = (quantised, scales)
        return self._quantised[rows]
