"""How a matrix is multiplied in the graph: one class per precision."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ai_assistant.provision.checkpoint import Weights
from ai_assistant.provision.graph_builder import FLOAT, GraphBuilder


class Linear(Protocol):
    """Multiplies rows [T, K] by a weight [N, K] as PyTorch keeps it; the result [T, N] is named `output`."""

    bytes_per_weight: float
    activation: np.dtype[Any]
    """Of `rows`, the result, the rotations and the keys and values."""
    embedding: np.dtype[Any]

    def multiply(self, rows: str, weight: Weights, name: str, output: str, *, is_normed: bool = False) -> str:
        """`is_normed`: the rows come straight from a norm."""
        ...


class DenseLinear:
    """fp32: the reference."""

    bytes_per_weight: float = 4
    activation = FLOAT
    embedding = FLOAT

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder

    def multiply(self, rows: str, weight: Weights, name: str, output: str, *, is_normed: bool = False) -> str:
        transposed = self._builder.constant(f"{name}.weight", weight.T)
        return self._builder.node("MatMul", [rows, transposed], output)
