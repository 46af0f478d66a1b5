"""fp16: what a GPU multiplies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ai_assistant.errors import UnsupportedModelError
from ai_assistant.provision.checkpoint import Weights
from ai_assistant.provision.graph_builder import HALF, GraphBuilder

_LARGEST = float(np.finfo(np.float16).max)


class HalfLinear:
    """Weights and activations in fp16, sums in fp32 inside the kernel.

    The weight stays [N, K], so that a tied output matrix and the embedding are one tensor: on a GPU that saves up to a third
    of a small model's memory.
    """

    bytes_per_weight: float = 2
    activation = HALF
    embedding = HALF

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder

    def multiply(self, rows: str, weight: Weights, name: str, output: str, *, is_normed: bool = False) -> str:
        shared = self._builder.shared_constant(f"{name}.weight", half(weight, name))
        return self._builder.node("Gemm", [rows, shared], output, transB=1)


def half(values: Weights, name: str) -> npt.NDArray[np.float16]:
    """`values` in fp16; raises UnsupportedModelError where one of them is outside its range."""
    if not np.abs(values).max(initial=0) <= _LARGEST:
        raise UnsupportedModelError(
            f"{name} holds numbers beyond fp16's range (65504), so fp16 cannot hold this model;"
            " build it for the CPU, in fp32 or int8."
        )
    return values.astype(np.float16)
