"""A change of the weights that must not change the model."""

from pathlib import Path

import numpy as np
import pytest

from ai_assistant.provision.calibration import calibrate
from ai_assistant.provision.checkpoint import Weights
from ai_assistant.provision.checkpoint_view import CheckpointView
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint
from ai_assistant.provision.graph import write_graph
from ai_assistant.provision.graph_session import GraphSession
from ai_assistant.provision.rotation import RotatedCheckpoint, orthogonal
from unit.provision.tiny_llama import HEAD, HEADS, HIDDEN, INNER, KV_HEADS, LAYERS, TinyLlama

IDS = [5, 100, 7, 7, 42, 200, 3, 261, 90, 11]
WIDTHS = {
    "query_bias": HEADS * HEAD,
    "key_bias": KV_HEADS * HEAD,
    "value_bias": KV_HEADS * HEAD,
    "attention_output_bias": HIDDEN,
    "gate_bias": INNER,
    "up_bias": INNER,
    "down_bias": HIDDEN,
}


class WithBiases(CheckpointView):
    """Every bias that any family has."""

    def optional_layer(self, index: int, weight: str) -> Weights | None:
        if weight not in WIDTHS:
            return None
        random = np.random.default_rng([index, *weight.encode()])
        return (0.3 * random.standard_normal(WIDTHS[weight])).astype(np.float32)


class WithHeadNorms(CheckpointView):
    """Norms of queries and keys, with a bias before them."""

    def optional_layer(self, index: int, weight: str) -> Weights | None:
        random = np.random.default_rng([index, *weight.encode()])
        if weight in {"query_norm", "key_norm"}:
            return (1 + 0.2 * random.standard_normal(HEAD)).astype(np.float32)
        return None


def logits(checkpoint: CheckpointView | GgufCheckpoint, folder: Path) -> Weights:
    folder.mkdir()
    write_graph(checkpoint, folder, precision="fp32")
    return GraphSession(folder / "model.onnx", checkpoint.architecture).logits(IDS)


@pytest.mark.parametrize("size", [1, 2, 7, 16, 64, 80, 96, 576, 896])
def test_the_turn_is_orthogonal_and_even(size: int) -> None:
    matrix = orthogonal(size)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=5e-6)
    assert np.abs(matrix).max() <= np.sqrt(2 / size) + 1e-6 or size == 1
    np.testing.assert_array_equal(matrix, orthogonal(size))


@pytest.mark.parametrize("view", [CheckpointView, WithBiases, WithHeadNorms])
@pytest.mark.parametrize("is_tied", [True, False])
def test_a_turned_model_is_the_same_model(tmp_path: Path, view: type[CheckpointView], is_tied: bool) -> None:
    checkpoint = view(GgufCheckpoint(TinyLlama(is_tied=is_tied, seed=8).write_gguf(tmp_path / "m.gguf")))
    random = np.random.default_rng(0)
    scales = [np.exp(random.standard_normal(INNER)).astype(np.float32) for _ in range(LAYERS)]
    expected = logits(checkpoint, tmp_path / "plain")
    turned = RotatedCheckpoint(checkpoint, scales)
    assert not np.allclose(turned.layer(0, "query"), checkpoint.layer(0, "query"), atol=0.01)
    np.testing.assert_allclose(logits(turned, tmp_path / "turned"), expected, atol=1e-3)


def test_a_huge_channel_disappears_in_the_crowd(tmp_path: Path) -> None:
    tiny = TinyLlama(seed=9)
    tiny.weights["embed"][:, 3] *= 100
    turned = RotatedCheckpoint(GgufCheckpoint(tiny.write_gguf(tmp_path / "m.gguf")))
    before, after = tiny.weights["embed"], turned.embedding()
    assert np.median(np.abs(before).max(axis=1) / np.sqrt((before**2).mean(axis=1))) > 7
    assert np.median(np.abs(after).max(axis=1) / np.sqrt((after**2).mean(axis=1))) < 3


def test_calibration_finds_the_huge_inner_channel_and_the_delicate_layer(tmp_path: Path) -> None:
    tiny = TinyLlama(seed=10)
    tiny.weights["1.up"][17] *= 1000
    tiny.weights["1.down"][:, 17] /= 1000
    checkpoint = GgufCheckpoint(tiny.write_gguf(tmp_path / "m.gguf"))
    write_graph(checkpoint, tmp_path, precision="fp32")
    calibration = calibrate(checkpoint, tmp_path, [IDS, IDS[::-1]])
    assert int(calibration.inner_scales[1].argmax()) == 17
    assert calibration.inner_scales[1][17] > 20 * np.median(calibration.inner_scales[1])
    assert len(calibration.delicate_layers) == 1
    np.testing.assert_allclose(logits(calibration.applied(checkpoint), tmp_path / "t"), tiny.logits(IDS), atol=2e-3)


def test_the_layer_with_peaks_is_the_delicate_one(tmp_path: Path) -> None:
    tiny = TinyLlama(seed=11)
    # One channel that answers to one token only: it cannot be scaled away without losing the others.
    tiny.weights["1.up"][5] = tiny.weights["1.gate"][5] = 0
    tiny.weights["0.gate"][5] = 30 * tiny.weights["embed"][200]
    tiny.weights["0.up"][5] = 30 * tiny.weights["embed"][200]
    checkpoint = GgufCheckpoint(tiny.write_gguf(tmp_path / "m.gguf"))
    write_graph(checkpoint, tmp_path, precision="fp32")
    assert calibrate(checkpoint, tmp_path, [[3, 9, 200, 40, 41, 42] * 3]).delicate_layers == {0}
