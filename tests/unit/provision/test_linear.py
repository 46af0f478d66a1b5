"""Products of each precision, in a graph of one node or a few."""

from pathlib import Path

import gguf
import numpy as np
import onnxruntime as ort
import pytest

from ai_assistant.provision.checkpoint import Weights
from ai_assistant.provision.graph_builder import GraphBuilder, float_input
from ai_assistant.provision.linear import DenseLinear
from ai_assistant.provision.linear_int8 import Int8Linear
from ai_assistant.provision.linear_weights import Int4Linear, Int8WeightsLinear

AnyLinear = DenseLinear | Int8Linear | Int8WeightsLinear | Int4Linear


def product(folder: Path, kind: type[AnyLinear], rows: Weights, weight: Weights, *, is_normed: bool = False) -> Weights:
    with GraphBuilder(folder, "data") as builder:
        kind(builder).multiply("rows", weight, "weight", "result", is_normed=is_normed)
        builder.save(
            folder / "g.onnx", "g", [float_input("rows", ["t", weight.shape[1]])], [float_input("result", ["t", len(weight)])]
        )
    session = ort.InferenceSession(folder / "g.onnx", providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"rows": rows})[0])


def normal(*shape: int, seed: int = 0) -> Weights:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def error(result: Weights, rows: Weights, weight: Weights) -> float:
    """Relative to the size of a usual result."""
    expected = rows.astype(np.float64) @ weight.T
    return float(np.sqrt(((result - expected) ** 2).mean()) / expected.std())


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [(DenseLinear, 0, 1e-5), (Int8WeightsLinear, 1e-4, 0.012), (Int8Linear, 1e-4, 0.02), (Int4Linear, 0.01, 0.12)],
)
@pytest.mark.parametrize("width", [64, 96, 100])
def test_a_product_is_as_exact_as_its_precision(
    tmp_path: Path, kind: type[AnyLinear], least: float, most: float, width: int
) -> None:
    rows, weight = normal(5, width), normal(40, width, seed=1)
    assert least <= error(product(tmp_path, kind, rows, weight), rows, weight) <= most


def test_normed_rows_share_one_step(tmp_path: Path) -> None:
    rows, weight = normal(5, 64), normal(40, 64, seed=1)
    rows /= np.sqrt((rows**2).mean(axis=1, keepdims=True))
    assert error(product(tmp_path, Int8Linear, rows, weight, is_normed=True), rows, weight) < 0.02


def test_a_row_of_zeros_gives_zeros(tmp_path: Path) -> None:
    rows, weight = normal(3, 64), normal(40, 64, seed=1)
    rows[1] = 0
    weight[7] = 0
    result = product(tmp_path, Int8Linear, rows, weight)
    assert (result[1] == 0).all()
    assert (result[:, 7] == 0).all()
    assert error(result[[0, 2]], rows[[0, 2]], weight) < 0.02


def test_four_bits_keep_a_q4_1_file_exactly(tmp_path: Path) -> None:
    """What is left is the rounding of the activations, the same as with 8-bit weights."""
    packed = gguf.quantize(normal(40, 128, seed=2), gguf.GGMLQuantizationType.Q4_1)
    weight = gguf.dequantize(packed, gguf.GGMLQuantizationType.Q4_1).astype(np.float32)
    # whole numbers up to 127, the largest in every block: the kernel's 8 bits hold them exactly
    rows = np.random.default_rng(3).integers(-127, 128, (4, 128)).astype(np.float32)
    rows[:, ::32] = 127
    assert error(product(tmp_path, Int4Linear, rows, weight), rows, weight) < 1e-4
    other = normal(40, 128, seed=2)
    assert error(product(tmp_path, Int4Linear, rows, other), rows, other) > 0.02
