"""The written graphs compute what the formulas say, under the contract that the engine binds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from ai_assistant.errors import ConfigurationError
from ai_assistant.provision.checkpoints import open_checkpoint
from ai_assistant.provision.graph import graph_bytes, write_graph
from ai_assistant.provision.graph_session import GraphSession
from ai_assistant.provision.rotation import RotatedCheckpoint
from unit.provision.tiny_checkpoint import write_checkpoint
from unit.provision.tiny_llama import HEAD, HIDDEN, KV_HEADS, LAYERS, VOCABULARY, TinyLlama

IDS = [5, 100, 7, 7, 42, 200, 3, 261, 90, 11]
BIASES = {"attention_bias": True, "mlp_bias": True}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
MISTRAL = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 4}


@dataclass(frozen=True)
class Variant:
    """A tiny model with something that only some families have, and the config.json that says so."""

    tiny: TinyLlama
    config: dict[str, Any]

    def write(self, folder: Path) -> Path:
        return write_checkpoint(folder, self.tiny, config=self.config)


@pytest.fixture(params=["biases", "head norms", "window"])
def variant(request: pytest.FixtureRequest) -> Variant:
    return {
        "biases": Variant(TinyLlama(is_tied=False, seed=8, has_biases=True), BIASES),
        "head norms": Variant(TinyLlama(seed=9, has_head_norms=True), QWEN3),
        "window": Variant(TinyLlama(seed=10, window=4), MISTRAL),
    }[request.param]


def written(model: Path, folder: Path, precision: str) -> Path:
    folder.mkdir(exist_ok=True)
    checkpoint = open_checkpoint(model)
    write_graph(RotatedCheckpoint(checkpoint) if precision == "int8" else checkpoint, folder, precision=precision)
    return folder / "model.onnx"


def opened(model: Path, folder: Path, precision: str) -> GraphSession:
    return GraphSession(written(model, folder, precision), open_checkpoint(model).architecture)


@pytest.mark.parametrize("is_tied", [True, False])
def test_fp32_is_the_model(tmp_path: Path, is_tied: bool) -> None:
    tiny = TinyLlama(is_tied=is_tied, seed=3)
    session = opened(tiny.write_gguf(tmp_path / "m.gguf"), tmp_path / "g", "fp32")
    np.testing.assert_allclose(session.logits(IDS), tiny.logits(IDS), atol=2e-4)


def test_what_only_some_families_have_is_computed(variant: Variant, tmp_path: Path) -> None:
    session = opened(variant.write(tmp_path / "m"), tmp_path / "g", "fp32")
    expected = variant.tiny.logits(IDS)
    np.testing.assert_allclose(session.logits(IDS), expected, atol=2e-4)
    plain = replace(variant.tiny, has_biases=False, has_head_norms=False, window=None, weights={})
    assert np.abs(plain.logits(IDS) - expected).max() > 0.1, "the test would not see it missing"


def test_int8_computes_what_only_some_families_have(variant: Variant, tmp_path: Path) -> None:
    logits = opened(variant.write(tmp_path / "m"), tmp_path / "g", "int8").logits(IDS)
    expected = variant.tiny.logits(IDS)
    assert np.abs(logits - expected).mean() < 0.05 * np.abs(expected).mean()


def test_a_model_that_scales_its_rotations_differs_only_in_the_tables(tiny: TinyLlama, tmp_path: Path) -> None:
    linear = {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}
    session = opened(write_checkpoint(tmp_path / "m", tiny, config=linear), tmp_path / "g", "fp32")
    plain = opened(write_checkpoint(tmp_path / "p", tiny), tmp_path / "h", "fp32")
    # At the first position nothing turns.
    np.testing.assert_array_equal(session.logits(IDS[:1]), plain.logits(IDS[:1]))
    assert np.abs(session.logits(IDS) - plain.logits(IDS)).max() > 0.1


def test_int8_is_close_to_the_model(tiny: TinyLlama, tiny_gguf: Path, tmp_path: Path) -> None:
    logits = opened(tiny_gguf, tmp_path / "g", "int8").logits(IDS)
    expected = tiny.logits(IDS)
    assert np.abs(logits - expected).mean() < 0.05 * np.abs(expected).mean()
    assert np.abs(logits - expected).max() > 1e-4, "this is not quantised at all"


def test_int8_survives_a_row_and_a_column_of_zeros(tmp_path: Path) -> None:
    tiny = TinyLlama(seed=5)
    tiny.weights["embed"][5] = 0
    tiny.weights["0.up"][3] = 0
    tiny.weights["1.v"][:] = 0
    session = opened(tiny.write_gguf(tmp_path / "m.gguf"), tmp_path / "g", "int8")
    logits = session.logits([5, 5, 9])
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[2], tiny.logits([5, 5, 9])[2], atol=0.5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_row_does_not_depend_on_its_batch(tiny_gguf: Path, tmp_path: Path, precision: str) -> None:
    session = opened(tiny_gguf, tmp_path / "g", precision)

    def decoded(rows: list[list[int]]) -> np.ndarray[Any, Any]:
        cache = session.empty_cache(len(rows))
        for position in range(len(rows[0])):
            step = np.array([[row[position]] for row in rows])
            logits, cache = session.run(step, cache, past=position)
        return logits

    alone = decoded([IDS])[0]
    together = decoded([IDS[::-1], IDS, [9] * len(IDS)])[1]
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-4), ("int8", 0.6)])
def test_ragged_rows_share_buffers_with_room_to_spare(
    tiny: TinyLlama, tiny_gguf: Path, tmp_path: Path, precision: str, tolerance: float
) -> None:
    check_ragged_rows(tiny, written(tiny_gguf, tmp_path / "g", precision), tolerance)


def test_ragged_rows_have_what_only_some_families_have(variant: Variant, tmp_path: Path) -> None:
    check_ragged_rows(variant.tiny, written(variant.write(tmp_path / "m"), tmp_path / "g", "fp32"), 2e-4)


def check_ragged_rows(tiny: TinyLlama, graph: Path, tolerance: float) -> None:
    """Two rows of different length in slots larger than either, written in place: past and present are one buffer."""
    session: Any = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    capacity, texts = 16, [IDS, IDS[3:8]]
    parts = [f"{index}.{part}" for index in range(LAYERS) for part in ("key", "value")]
    slots = {part: np.zeros((2, KV_HEADS, capacity, HEAD), np.float32) for part in parts}

    def run(ids: list[list[int]], lengths: list[int], asked: list[int], rows: slice) -> np.ndarray[Any, Any]:
        binding = session.io_binding()
        feeds = {
            "input_ids": np.array(ids, np.int64),
            "seqlens_k": np.array([length - 1 for length in lengths], np.int32),
            "total_sequence_length": np.array(max(lengths), np.int32),
            "logits_indices": np.array(asked, np.int64),
        }
        for name, values in feeds.items():
            binding.bind_cpu_input(name, values)
        binding.bind_output("logits", "cpu")
        for part, slot in slots.items():
            place = slot[rows]
            for bind, prefix in ((binding.bind_input, "past"), (binding.bind_output, "present")):
                bind(f"{prefix}.{part}", "cpu", 0, np.float32, place.shape, place.ctypes.data)
        session.run_with_iobinding(binding)
        return np.asarray(binding.get_outputs()[0].numpy())

    for row, text in enumerate(texts):
        run([text[:-1]], [len(text) - 1], [len(text) - 2], slice(row, row + 1))
    logits = run([[text[-1]] for text in texts], [len(text) for text in texts], [1, 0], slice(0, 2))
    assert logits.shape == (2, VOCABULARY)
    for asked, text in zip(logits, reversed(texts), strict=True):
        np.testing.assert_allclose(asked, tiny.logits(text)[-1], atol=tolerance)


def test_large_weights_lie_in_the_data_file_and_are_announced(tiny_gguf: Path, tmp_path: Path) -> None:
    pieces: list[int] = []
    checkpoint = open_checkpoint(tiny_gguf)
    write_graph(checkpoint, tmp_path, precision="fp32", on_written=pieces.append)
    data = (tmp_path / "model.onnx.data").stat().st_size
    assert sum(pieces) == data
    assert (tmp_path / "model.onnx").stat().st_size < 20_000
    assert data >= graph_bytes(checkpoint.architecture, "fp32") > HIDDEN * VOCABULARY * 8


def test_an_unknown_precision_is_named(tiny_gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'int3'; choose auto or one of fp32, int8"):
        write_graph(open_checkpoint(tiny_gguf), tmp_path, precision="int3")
