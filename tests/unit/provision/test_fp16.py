"""fp16 packages: exact enough, half the size, refused outside of fp16's range, and computed from rows in another memory."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from ai_assistant.engine.backends.cuda_buffers import DeviceKVBuffers
from ai_assistant.engine.backends.onnx import OnnxRunner
from ai_assistant.engine.model_package import ModelPackage, load_package
from ai_assistant.errors import ModelError, ModelPackageError, UnsupportedModelError
from ai_assistant.provision.build import build_package
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint
from ai_assistant.provision.graph import graph_bytes, kv_bytes_per_token, write_graph
from ai_assistant.provision.graph_session import GraphSession
from unit.engine.host_memory import HostMemory
from unit.provision.tiny_llama import HEAD, KV_HEADS, LAYERS, TinyLlama

IDS = [5, 100, 7, 7, 42, 200, 3, 261, 90, 11]


@pytest.fixture(scope="module")
def package(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return load_package(build_package(str(tiny_gguf), precision="fp16", store=tmp_path_factory.mktemp("store")), verify=True)


def test_the_package_says_what_it_is(package: ModelPackage) -> None:
    manifest = package.manifest
    assert (manifest.precision, manifest.kv_dtype) == ("fp16", "float16")
    assert manifest.execution_providers == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert manifest.kv_bytes_per_token == 2 * LAYERS * KV_HEADS * HEAD * 2
    assert manifest.min_onnxruntime == "1.31", "the newest onnxruntime-gpu must be able to run it"
    assert manifest.accuracy is not None
    assert manifest.accuracy.top1 >= 0.99
    assert 0 < manifest.accuracy.mean_kl <= 0.001


def test_the_graph_is_half_where_it_multiplies_and_whole_where_it_adds(package: ModelPackage) -> None:
    graph = onnx.load(package.graph_path, load_external_data=False).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert {kind for name, kind in types.items() if name.endswith("weight") and "norm" not in name} == {onnx.TensorProto.FLOAT16}
    assert {types["rotation/cos"], types["rotation/sin"]} == {onnx.TensorProto.FLOAT16}
    assert {kind for name, kind in types.items() if "norm.weight" in name} == {onnx.TensorProto.FLOAT}
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert kinds["logits"] == onnx.TensorProto.FLOAT
    assert {kinds["past.0.key"], kinds["present.1.value"]} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_tied_output_matrix_is_the_embedding(tmp_path: Path, is_tied: bool) -> None:
    tiny = TinyLlama(is_tied=is_tied, seed=3)
    checkpoint = GgufCheckpoint(tiny.write_gguf(tmp_path / "m.gguf"))
    write_graph(checkpoint, tmp_path, precision="fp16")
    names = {tensor.name for tensor in onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.initializer}
    assert ("lm_head.weight" in names) is not is_tied
    size = (tmp_path / "model.onnx.data").stat().st_size
    assert size == pytest.approx(graph_bytes(checkpoint.architecture, "fp16", is_tied=is_tied), rel=0.2)
    logits = GraphSession(tmp_path / "model.onnx", checkpoint.architecture).logits(IDS)
    expected = tiny.logits(IDS)
    assert np.abs(logits - expected).max() < 0.01 * np.abs(expected).max()
    assert np.abs(logits - expected).max() > 1e-4, "this is not fp16 at all"


def test_keys_and_values_take_half(tiny_gguf: Path) -> None:
    architecture = GgufCheckpoint(tiny_gguf).architecture
    assert kv_bytes_per_token(architecture, "fp32") == 2 * kv_bytes_per_token(architecture, "fp16")


def test_a_weight_outside_of_the_range_is_refused(tmp_path: Path) -> None:
    tiny = TinyLlama(seed=4)
    tiny.weights["0.up"][1, 2] = 70000.0
    with pytest.raises(UnsupportedModelError, match=r"layers\.0\.gate_up holds numbers beyond fp16's range"):
        build_package(str(tiny.write_gguf(tmp_path / "m.gguf")), precision="fp16", store=tmp_path / "store")


def test_activations_outside_of_the_range_are_refused(tmp_path: Path) -> None:
    tiny = TinyLlama(seed=5)
    tiny.weights["0.gate"] *= 300
    tiny.weights["0.up"] *= 300
    with pytest.raises(ModelPackageError, match="may leave fp16's range; build it for the CPU"):
        build_package(str(tiny.write_gguf(tmp_path / "m.gguf")), precision="fp16", store=tmp_path / "store")


def in_device_memory(package: ModelPackage, memory: HostMemory) -> OnnxRunner:
    """A runner that handles its rows and its inputs as on a GPU; only the provider is the CPU's."""
    runner: Any = OnnxRunner(package, max_chunk=16)
    runner._buffers = DeviceKVBuffers(memory, 2 * LAYERS, KV_HEADS, HEAD, np.dtype(np.float16))
    runner._copies_inputs = True
    return runner


def test_rows_in_device_memory_answer_as_rows_in_this_one(package: ModelPackage) -> None:
    """Prompts in chunks, joining, growing with and without room, moving and exchanging rows: the same bits at every step."""
    memory = HostMemory()
    runners = [OnnxRunner(package, max_chunk=16), in_device_memory(package, memory)]

    def both(method: str, *arguments: Any) -> np.ndarray[Any, Any] | None:
        results = [getattr(runner, method)(*arguments) for runner in runners]
        if results[0] is None:
            return None
        np.testing.assert_array_equal(results[0], results[1])
        return np.array(results[0])

    both("resize", 3, 32, [])
    both("prefill", 0, IDS, 0)
    both("prefill", 1, IDS[:7], 0)
    both("prefill", 1, IDS[2:9], 7)
    both("prefill", 2, IDS[::-1][:4], 0)
    lengths = [10, 14, 4]
    for step in range(3):
        both("decode", [9, 8, 7 + step], lengths)
        lengths = [length + 1 for length in lengths]
    both("swap", 0, 1, 17)
    lengths[:2] = reversed(lengths[:2])
    both("decode", [1, 2, 3], lengths)
    lengths = [length + 1 for length in lengths]
    memory.size = memory.used + 1000
    both("resize", 2, 40, lengths[:2])
    assert memory.num_read, "the rows were to go by way of the host"
    both("decode", [4, 5], lengths[:2])
    both("move", 1, 0, lengths[1] + 1)
    both("decode", [6], [lengths[1] + 1])


def test_no_room_on_the_device_keeps_the_rows(package: ModelPackage) -> None:
    memory = HostMemory(20_000)
    plain, runner = OnnxRunner(package, max_chunk=16), in_device_memory(package, memory)
    for each in (plain, runner):
        each.resize(1, 32, [])
        each.prefill(0, IDS, 0)
    with pytest.raises(ModelError, match="not enough memory for the keys and values"):
        runner.resize(16, 512, [len(IDS)])
    np.testing.assert_array_equal(runner.decode([3], [len(IDS)]), plain.decode([3], [len(IDS)]))
