"""W8A8: 8-bit weights and activations, multiplied as integers."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ai_assistant.provision.checkpoint import Weights
from ai_assistant.provision.graph_builder import FLOAT, HALF, MICROSOFT, GraphBuilder
from ai_assistant.provision.linear_weights import Int8WeightsLinear

_INT8_MAX = 127
_UINT8_ZERO = 128
# The smallest scale of an output channel: one of zeros must not be divided by zero.
_SMALLEST_SCALE = 1e-10
# Numbers of a turned and normed row are distributed like a normal variable of variance one; 8 even bits round those best
# when they reach four standard deviations.
_NORMED_RANGE = 4.0


class Int8Linear:
    """A scale per output channel of the weight, and one for all normed rows or one per row (token) of other activations.

    Sums of int8 products are exact, and a row's scale is its own or fixed; so a row's result does not depend on who shares
    the batch. It wants a `RotatedCheckpoint`: rows that come from a norm have unit mean square and no outliers. Products
    named in `exempt` have 8-bit weights only.
    """

    bytes_per_weight: float = 1
    activation = FLOAT
    embedding = HALF

    def __init__(self, builder: GraphBuilder, exempt: Collection[str] = ()) -> None:
        self._builder = builder
        self._exempt = exempt
        self._weights_only = Int8WeightsLinear(builder)
        # Consumers of one activation share its quantised form: rows -> (quantised, their largest numbers or None).
        self._quantised: dict[str, tuple[str, str | None]] = {}
        builder.constant("int8/normed_step", np.array(_NORMED_RANGE / _INT8_MAX, np.float32))
        builder.constant("int8/step", np.array(1 / _INT8_MAX, np.float32))
        builder.constant("int8/last_axis", np.array([-1], np.int64))
        builder.constant("int8/activation_zero", np.array(_UINT8_ZERO, np.uint8))
        builder.constant("int8/weight_zero", np.array(0, np.int8))

    def multiply(self, rows: str, weight: Weights, name: str, output: str, *, is_normed: bool = False) -> str:
        if name in self._exempt:
            return self._weights_only.multiply(rows, weight, name, output)
        builder = self._builder
        quantised_rows, largest = self._quantise_rows(rows, is_normed=is_normed)
        scales = np.maximum(np.abs(weight).max(axis=1) / np.float32(_INT8_MAX), np.float32(_SMALLEST_SCALE))
        # In place: the output matrix of a large model is gigabytes.
        scaled = weight / scales[:, None]
        np.rint(scaled, out=scaled)
        quantised = np.clip(scaled, -_INT8_MAX, _INT8_MAX, out=scaled).astype(np.int8)
        inputs = [
            quantised_rows,
            builder.constant(f"{name}.weight", quantised.T),
            "int8/normed_step" if largest is None else "int8/step",
            builder.constant(f"{name}.scales", scales),
            "int8/activation_zero",
            "int8/weight_zero",
        ]
        product = output if largest is None else f"{name}/product"
        builder.node("MatMulIntegerToFloat", inputs, product, domain=MICROSOFT)
        return product if largest is None else builder.node("Mul", [product, largest], output)

    def _quantise_rows(self, rows: str, *, is_normed: bool) -> tuple[str, str | None]:
        if rows not in self._quantised:
            self._quantised[rows] = self._with_fixed_step(rows) if is_normed else self._with_own_step(rows)
        return self._quantised[rows]

    def _with_fixed_step(self, rows: str) -> tuple[str, None]:
        return self._builder.node("QuantizeLinear", [rows, "int8/normed_step", "int8/activation_zero"], f"{rows}/int8"), None

    def _with_own_step(self, rows: str) -> tuple[str, str]:
        node = self._builder.node
        magnitude = node("Abs", [rows], f"{rows}/abs")
        largest = node("ReduceMax", [magnitude, "int8/last_axis"], f"{rows}/largest", keepdims=1)
        # A row of zeros becomes NaN here and some integer there; the product with its largest number, zero, is zero again.
        relative = node("Div", [rows, largest], f"{rows}/relative")
        quantised = node("QuantizeLinear", [relative, "int8/step", "int8/activation_zero"], f"{rows}/int8")
        return quantised, largest
