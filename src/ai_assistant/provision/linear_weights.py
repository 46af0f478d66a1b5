"""8- and 4-bit weights with a scale per block of 32, multiplied by activations that the kernel rounds to 8 bits per block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ai_assistant.provision.checkpoint import Weights
from ai_assistant.provision.graph_builder import FLOAT, HALF, MICROSOFT, GraphBuilder

BLOCK = 32
# The kernel's int8 path; the others are 30 to 60 times slower on x86.
_INT8_ACTIVATIONS = 4
_SMALLEST_SCALE = 1e-10

Bytes = npt.NDArray[np.uint8]


class Int8WeightsLinear:
    """`MatMulNBits` with 8-bit weights: the most accurate below fp32, the fastest for one row on many machines."""

    bytes_per_weight: float = 1 + 4 / BLOCK
    activation = FLOAT
    embedding = HALF

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder

    def multiply(self, rows: str, weight: Weights, name: str, output: str, *, is_normed: bool = False) -> str:
        blocks = _blocks(weight)
        scales = np.maximum(np.abs(blocks).max(axis=2) / 127, _SMALLEST_SCALE).astype(np.float32)
        quantised = (np.rint(blocks / scales[..., None]) + 128).astype(np.uint8)
        return matmul_nbits(self._builder, rows, weight.shape, quantised, scales, name, output, bits=8)


class Int4Linear:
    """4-bit weights. A block's values lie on 16 even steps from its smallest to its largest weight.

    The kernel can only place the steps around zero, off by up to half a step; what is missing is the same number for all
    weights of a block, so it is added as a product of the block sums of the activations, a 32nd of the work. With it a GGUF
    file in Q4_1 is kept exactly. The output matrix, which decides between near tokens, has 8 bits.
    """

    bytes_per_weight: float = 0.5 + 8 / BLOCK
    activation = FLOAT
    embedding = HALF

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder
        self._eight_bits = Int8WeightsLinear(builder)
        self._sums: dict[str, str] = {}
        builder.constant("int4/last_axis", np.array([-1], np.int64))

    def multiply(self, rows: str, weight: Weights, name: str, output: str, *, is_normed: bool = False) -> str:
        if name == "lm_head":
            return self._eight_bits.multiply(rows, weight, name, output)
        blocks = _blocks(weight)
        smallest, largest = blocks.min(axis=2), blocks.max(axis=2)
        scales = np.maximum((largest - smallest) / 15, _SMALLEST_SCALE).astype(np.float32)
        steps = np.clip(np.rint((blocks - smallest[..., None]) / scales[..., None]), 0, 15).astype(np.uint8)
        packed = steps[..., 0::2] | (steps[..., 1::2] << 4)
        product = matmul_nbits(self._builder, rows, weight.shape, packed, scales, name, f"{name}/product", bits=4)
        # The kernel multiplies by scale * (step - 8).
        offsets = self._builder.constant(f"{name}.offsets", (smallest + 8 * scales).T.astype(np.float32))
        correction = self._builder.node("MatMul", [self._block_sums(rows, weight.shape[1]), offsets], f"{name}/correction")
        return self._builder.node("Add", [product, correction], output)

    def _block_sums(self, rows: str, width: int) -> str:
        if rows not in self._sums:
            node, constant = self._builder.node, self._builder.constant
            if missing := -width % BLOCK:
                pads = constant(f"{rows}/pads", np.array([0, 0, 0, missing], np.int64))
                padded = node("Pad", [rows, pads], f"{rows}/padded")
            else:
                padded = rows
            shape = constant(f"{rows}/blocks_shape", np.array([-1, -(-width // BLOCK), BLOCK], np.int64))
            blocks = node("Reshape", [padded, shape], f"{rows}/blocks")
            self._sums[rows] = node("ReduceSum", [blocks, "int4/last_axis"], f"{rows}/block_sums", keepdims=0)
        return self._sums[rows]


def matmul_nbits(
    builder: GraphBuilder,
    rows: str,
    shape: tuple[int, ...],
    quantised: Bytes,
    scales: Weights,
    name: str,
    output: str,
    *,
    bits: int,
) -> str:
    """Adds the node; `quantised` is [N, blocks, bytes per block], `scales` [N, blocks], and zero the middle of the range."""
    inputs = [rows, builder.constant(f"{name}.weight", quantised), builder.constant(f"{name}.scales", scales)]
    return builder.node(
        "MatMulNBits",
        inputs,
        output,
        domain=MICROSOFT,
        N=shape[0],
        K=shape[1],
        bits=bits,
        block_size=BLOCK,
        accuracy_level=_INT8_ACTIVATIONS,
    )


def _blocks(weight: Weights) -> Weights:
    """[N, K] as [N, blocks, 32], the last block filled with its last value, which leaves its range as it is."""
    outputs, width = weight.shape
    if missing := -width % BLOCK:
        weight = np.pad(weight, ((0, 0), (0, missing)), mode="edge")
    return weight.reshape(outputs, -1, BLOCK)
