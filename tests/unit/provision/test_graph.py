"""The written graphs compute what the formulas say, under the contract that the engine binds."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import onnxruntime as ort
import pytest

from ai_assistant.errors import ConfigurationError
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint
from ai_assistant.provision.graph import graph_bytes, write_graph
from ai_assistant.provision.graph_session import GraphSession
from ai_assistant.provision.rotation import RotatedCheckpoint
from unit.provision.tiny_llama import HEAD, HIDDEN, KV_HEADS, LAYERS, VOCABULARY, TinyLlama

IDS = [5, 100, 7, 7, 42, 200, 3, 261, 90, 11]


def written(model: Path, folder: Path, precision: str) -> Path:
    folder.mkdir(exist_ok=True)
    checkpoint = GgufCheckpoint(model)
    write_graph(RotatedCheckpoint(checkpoint) if precision == "int8" else checkpoint, folder, precision=precision)
    return folder / "model.onnx"


def opened(model: Path, folder: Path, precision: str) -> GraphSession:
    return GraphSession(written(model, folder, precision), GgufCheckpoint(model).architecture)


@pytest.mark.parametrize("is_tied", [True, False])
def test_fp32_is_the_model(tmp_path: Path, is_tied: bool) -> None:
    tiny = TinyLlama(is_tied=is_tied, seed=3)
    session = opened(tiny.write_gguf(tmp_path / "m.gguf"), tmp_path / "g", "fp32")
    np.testing.assert_allclose(session.logits(IDS), tiny.logits(IDS), atol=2e-4)


def test_quantised_tensors_are_read_as_what_they_stand_for(tmp_path: Path) -> None:
    tiny = TinyLlama(seed=4)
    values = tiny.weights["0.up"]
    packed = gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    writer = gguf.GGUFWriter(tmp_path / "packed.gguf", "llama")
    writer.add_tensor("t", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    from ai_assistant.provision.gguf_file import GgufFile

    read = GgufFile(tmp_path / "packed.gguf").tensor("t")
    assert read.dtype == np.float32
    assert read.shape == values.shape
    assert 0 < np.abs(read - values).max() < 0.01


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
    """Two rows of different length in slots larger than either, written in place: past and present are one buffer."""
    session: Any = ort.InferenceSession(written(tiny_gguf, tmp_path / "g", precision), providers=["CPUExecutionProvider"])
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
    checkpoint = GgufCheckpoint(tiny_gguf)
    write_graph(checkpoint, tmp_path, precision="fp32", on_written=pieces.append)
    data = (tmp_path / "model.onnx.data").stat().st_size
    assert sum(pieces) == data
    assert (tmp_path / "model.onnx").stat().st_size < 20_000
    assert data >= graph_bytes(checkpoint.architecture, "fp32") > HIDDEN * VOCABULARY * 8


def test_an_unknown_precision_is_named(tiny_gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'int3'; choose auto or one of fp32, int8"):
        write_graph(GgufCheckpoint(tiny_gguf), tmp_path, precision="int3")
