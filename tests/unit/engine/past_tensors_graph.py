"""A graph of contract `past-tensors/1` that needs no training: its logits are sums over all it was given."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from ai_assistant.engine.model_package import DecoderShape, Manifest, ModelPackage, PackageSource

VOCABULARY, HEADS, SIZE, POSITIONS = 11, 2, 3, 64
CACHE = ["batch_size", HEADS, "past_sequence_length", SIZE]
SHA = "0" * 64
TABLE = np.random.default_rng(1).normal(size=(VOCABULARY, HEADS * SIZE)).astype(np.float32)
HEAD = np.random.default_rng(2).normal(size=(HEADS * SIZE, VOCABULARY)).astype(np.float32)


def write_graph(folder: Path, *, cache: list[str | int] | None = None, extra_inputs: tuple[str, ...] = ()) -> ModelPackage:
    """Each token adds its row of TABLE to the cache; logits are its mean, plus the last position, plus the mask's length."""
    cache = cache or CACHE
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Reshape", ["rows", "by_head"], ["heads"]),
        helper.make_node("Transpose", ["heads"], ["new"], perm=[0, 2, 1, 3]),
        helper.make_node("Concat", ["past_key_values.0.key", "new"], ["present.0.key"], axis=2),
        helper.make_node("ReduceMean", ["present.0.key", "axis"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "flat"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "head"], ["scores"]),
        helper.make_node("Cast", ["position_ids"], ["positions"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["positions", "axis"], ["shifts"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["mask"], ["seen"], keepdims=0),
        helper.make_node("Add", ["scores", "shifts"], ["shifted"]),
        helper.make_node("Add", ["shifted", "seen"], ["logits"]),
    ]
    constants = {
        "table": TABLE,
        "head": HEAD,
        "by_head": np.array([0, 0, HEADS, SIZE], np.int64),
        "flat": np.array([-1, 1, HEADS * SIZE], np.int64),
        "axis": np.array([2], np.int64),
    }
    integers = {
        "input_ids": ["batch_size", "sequence_length"],
        "attention_mask": ["batch_size", "past_sequence_length + sequence_length"],
        "position_ids": ["batch_size", "sequence_length"],
        **{name: ["batch_size"] for name in extra_inputs},
    }
    graph = helper.make_graph(
        nodes,
        "decoder",
        [
            *(helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in integers.items()),
            helper.make_tensor_value_info("past_key_values.0.key", TensorProto.FLOAT, cache),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", "sequence_length", VOCABULARY]),
            helper.make_tensor_value_info("present.0.key", TensorProto.FLOAT, ["batch_size", HEADS, "total", SIZE]),
        ],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "model.onnx")
    manifest = Manifest(
        files={},
        source=PackageSource(given="g", resolved="r", sha256=SHA),
        architecture=DecoderShape(family="sums", layers=1, vocab_size=VOCABULARY, max_positions=POSITIONS),
        graph_contract="past-tensors/1",
        precision="fp32",
        kv_bytes_per_token=1,
        eos_token_ids=(0,),
        tokenizer_sha256=SHA,
        min_onnxruntime="1.32",
    )
    return ModelPackage(folder, manifest)


def expected_logits(token_ids: list[int]) -> np.ndarray:
    """What the graph answers after these tokens, whatever way they were read."""
    return TABLE[token_ids].mean(0) @ HEAD + (len(token_ids) - 1) + len(token_ids)
