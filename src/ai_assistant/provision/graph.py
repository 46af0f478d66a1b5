"""Writes the decoder graph of contract `gqa-slots/1`.

That is: ragged rows over preallocated key/value slots, and logits for the asked rows only. Rows are flattened to
[tokens, hidden] everywhere but around the attention, so that a matrix product sees one plain matrix in every precision.

The residual stream, the norms and the logits are fp32 in every precision: with SmolLM2 single channels of the stream reach
thousands, where the steps of fp16 are whole numbers, and other families leave fp16's range there. What is multiplied, and the
keys and values, have the activation type of the precision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from ai_assistant.engine.model_package import GRAPH_DATA_FILE, GRAPH_FILE, Architecture
from ai_assistant.errors import ConfigurationError
from ai_assistant.provision.checkpoint import Checkpoint, Weights
from ai_assistant.provision.checkpoint_view import ScaledQueries
from ai_assistant.provision.graph_builder import FLOAT, MICROSOFT, GraphBuilder, float_input, integer_input, onnx_type
from ai_assistant.provision.linear import DenseLinear, Linear
from ai_assistant.provision.linear_fp16 import HalfLinear, half
from ai_assistant.provision.linear_int8 import Int8Linear
from ai_assistant.provision.linear_weights import Int4Linear, Int8WeightsLinear
from ai_assistant.provision.rotary import rotation_tables

_AnyLinear = DenseLinear | Int8Linear | Int8WeightsLinear | Int4Linear | HalfLinear
PRECISIONS: dict[str, type[_AnyLinear]] = {
    "fp32": DenseLinear,
    "int8": Int8Linear,
    "int8-weights": Int8WeightsLinear,
    "int4": Int4Linear,
    "fp16": HalfLinear,
}


def check_precision(precision: str) -> None:
    """Raises ConfigurationError for a precision that no graph can be written in."""
    if precision not in PRECISIONS:
        raise ConfigurationError(f"There is no precision {precision!r}; choose auto or one of {', '.join(PRECISIONS)}.")


def graph_bytes(architecture: Architecture, precision: str, *, is_tied: bool = False) -> int:
    """About how large the graph and its data will be; unless `is_tied`, the output matrix counts as one of its own."""
    a, linear = architecture, PRECISIONS[precision]
    attention = a.hidden_size * a.head_size * (2 * a.heads + 2 * a.kv_heads)
    per_layer = attention + 3 * a.hidden_size * a.intermediate_size
    table = a.vocab_size * a.hidden_size
    rotations = a.max_positions * a.head_size * linear.activation.itemsize
    embedding = 0 if is_tied and linear is HalfLinear else table * linear.embedding.itemsize
    return embedding + rotations + int((a.layers * per_layer + table) * linear.bytes_per_weight)


def kv_bytes_per_token(architecture: Architecture, precision: str) -> int:
    """Keys and values of one token in all layers."""
    values = 2 * architecture.layers * architecture.kv_heads * architecture.head_size
    return values * PRECISIONS[precision].activation.itemsize


def row_multiple(precision: str) -> int:
    """Batches are filled up to a multiple of this many rows, so that a row's numbers do not depend on how many there are."""
    # The kernel for 4-bit weights computes pairs of rows otherwise than single ones.
    return 2 if PRECISIONS[precision] is Int4Linear else 1


def execution_providers(precision: str) -> tuple[str, ...]:
    """What can run a graph of this precision, the one that it is meant for first."""
    # CUDA's attention kernel knows no fp32, and CPUs compute fp16 by converting it back and forth.
    is_half = PRECISIONS[precision].activation == np.float16
    return ("CUDAExecutionProvider", "CPUExecutionProvider") if is_half else ("CPUExecutionProvider",)


def inner_activation(layer: int) -> str:
    """The name of what the `down` of a layer's MLP multiplies, [tokens, intermediate size]."""
    return f"layers.{layer}/inner"


def write_graph(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    precision: str,
    delicate_layers: Collection[int] = (),
    on_written: Callable[[int], None] | None = None,
) -> None:
    """Writes the graph and its data into `folder`; `on_written` hears of every piece of data in bytes.

    int8 wants a checkpoint as `Calibration.applied` gives it, and its `delicate_layers`.
    """
    check_precision(precision)
    with GraphBuilder(folder, GRAPH_DATA_FILE, on_written=on_written) as builder:
        linear: Linear
        if precision == "int8":
            linear = Int8Linear(builder, exempt={f"layers.{layer}.down" for layer in delicate_layers})
        else:
            linear = PRECISIONS[precision](builder)
        _DecoderGraph(builder, linear, checkpoint).write(folder / GRAPH_FILE)


class _DecoderGraph:
    def __init__(self, builder: GraphBuilder, linear: Linear, checkpoint: Checkpoint) -> None:
        self._builder = builder
        self._linear = linear
        self._activation = linear.activation
        self._shape = checkpoint.architecture
        # On a GPU the attention's own scale costs nothing.
        self._scales_queries = linear.activation == FLOAT
        self._checkpoint = ScaledQueries(checkpoint) if self._scales_queries else checkpoint

    def write(self, path: Path) -> None:
        node = self._builder.node
        self._write_constants()
        ids = node("Reshape", ["input_ids", "shape/flat"], "token_ids")
        hidden = node("Gather", [self._embedding(), ids], "embedded")
        if self._linear.embedding != FLOAT:
            hidden = node("Cast", [hidden], "embedded/float", to=onnx_type(FLOAT))
        addend: str | None = None
        for index in range(self._shape.layers):
            name = f"layers.{index}"
            rows, hidden = self._norm(hidden, addend, self._checkpoint.layer(index, "attention_norm"), f"{name}/attention_norm")
            addend = self._attention(rows, index, name)
            rows, hidden = self._norm(hidden, addend, self._checkpoint.layer(index, "mlp_norm"), f"{name}/mlp_norm")
            addend = self._mlp(rows, index, name)
        rows, _ = self._norm(hidden, addend, self._checkpoint.output_norm(), "output_norm")
        # Only the rows that are sampled from reach the vocabulary.
        chosen = node("Gather", [rows, "logits_indices"], "output_norm/chosen")
        logits = "logits" if self._activation == FLOAT else "lm_head/logits"
        self._linear.multiply(chosen, self._checkpoint.lm_head(), "lm_head", logits, is_normed=True)
        self._cast(logits, FLOAT, "logits")
        self._save(path)

    def _embedding(self) -> str:
        values = self._checkpoint.embedding()
        if self._linear.embedding == FLOAT:
            return self._builder.constant("embedding", values)
        return self._builder.shared_constant("embedding", half(values, "embedding"))

    def _cast(self, values: str, dtype: np.dtype[Any], output: str) -> str:
        """`values`, which have the activation type or fp32, in `dtype`; nothing to do where these are one."""
        return values if self._activation == FLOAT else self._builder.node("Cast", [values], output, to=onnx_type(dtype))

    def _to_stream(self, rows: str) -> str:
        return self._cast(rows, FLOAT, f"{rows}/float")

    def _to_activation(self, rows: str) -> str:
        return self._cast(rows, self._activation, f"{rows}/activation")

    def _write_constants(self) -> None:
        shape, constant = self._shape, self._builder.constant
        constant("shape/flat", np.array([-1], np.int64))
        constant("shape/heads", np.array([-1, shape.heads * shape.head_size], np.int64))
        query, key_value = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        self._builder.node("Shape", ["input_ids"], "shape/batch")
        if self._checkpoint.optional_layer(0, "query_norm") is None:
            self._batched_shape("shape/query_key_value", query + 2 * key_value)
        else:
            constant("shape/head", np.array([-1, shape.head_size], np.int64))
            constant("shape/split", np.array([query, key_value, key_value], np.int64))
            self._batched_shape("shape/query", query)
            self._batched_shape("shape/key_value", key_value)
        for name, table in zip(("rotation/cos", "rotation/sin"), rotation_tables(shape), strict=True):
            constant(name, table.astype(self._activation))

    def _batched_shape(self, name: str, width: int) -> None:
        """The shape [batch, sequence, width], known only when the graph runs."""
        self._builder.constant(f"{name}_width", np.array([width], np.int64))
        self._builder.node("Concat", ["shape/batch", f"{name}_width"], name, axis=0)

    def _norm(self, hidden: str, addend: str | None, weight: Weights, name: str) -> tuple[str, str]:
        """Adds the last block's result to the residual stream and norms it: (normed rows, residual stream)."""
        weight_name = self._builder.constant(f"{name}.weight", weight)
        epsilon = self._shape.rms_norm_eps
        if addend is None:
            rows = self._builder.node(
                "SimplifiedLayerNormalization", [hidden, weight_name], name, axis=-1, epsilon=epsilon, stash_type=1
            )
            return self._to_activation(rows), hidden
        stream = f"{name}/stream"
        inputs = [hidden, self._to_stream(addend), weight_name]
        operator = "SkipSimplifiedLayerNormalization"
        self._builder.node(operator, inputs, name, "", "", stream, domain=MICROSOFT, epsilon=epsilon)
        return self._to_activation(name), stream

    def _attention(self, rows: str, index: int, name: str) -> str:
        node, shape = self._builder.node, self._shape
        weights = [self._checkpoint.layer(index, weight) for weight in ("query", "key", "value")]
        weight = np.concatenate(weights)
        del weights
        packed = self._linear.multiply(rows, weight, f"{name}.query_key_value", f"{name}/packed", is_normed=True)
        packed = self._with_bias(packed, index, "query", "key", "value")
        query_key_value = self._query_key_value(packed, index, name)
        past = [f"past.{index}.key", f"past.{index}.value"]
        positions = ["seqlens_k", "total_sequence_length", "rotation/cos", "rotation/sin"]
        attended = node(
            "GroupQueryAttention",
            [*query_key_value, *past, *positions],
            f"{name}/attended",
            f"present.{index}.key",
            f"present.{index}.value",
            domain=MICROSOFT,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            scale=1.0 if self._scales_queries else shape.head_size**-0.5,
            do_rotary=1,
            rotary_interleaved=0,
            local_window_size=shape.sliding_window or -1,
        )
        flat = node("Reshape", [attended, "shape/heads"], f"{name}/attended_rows")
        weight = self._checkpoint.layer(index, "attention_output")
        product = self._linear.multiply(flat, weight, f"{name}.attention_output", f"{name}/attention")
        return self._with_bias(product, index, "attention_output")

    def _query_key_value(self, packed: str, index: int, name: str) -> tuple[str, str, str]:
        """What the attention takes: one packed tensor, or three where queries and keys have norms of their own."""
        node = self._builder.node
        query_norm, key_norm = (self._checkpoint.optional_layer(index, f"{part}_norm") for part in ("query", "key"))
        if query_norm is None or key_norm is None:
            return node("Reshape", [packed, "shape/query_key_value"], f"{name}/batched"), "", ""
        query, key, value = f"{name}/query", f"{name}/key", f"{name}/value"
        node("Split", [packed, "shape/split"], query, key, value, axis=-1)
        return (
            node("Reshape", [self._head_norm(query, query_norm), "shape/query"], f"{query}_batched"),
            node("Reshape", [self._head_norm(key, key_norm), "shape/key_value"], f"{key}_batched"),
            node("Reshape", [value, "shape/key_value"], f"{value}_batched"),
        )

    def _head_norm(self, part: str, weight: Weights) -> str:
        heads = self._builder.node("Reshape", [part, "shape/head"], f"{part}_heads")
        rows, _ = self._norm(self._to_stream(heads), None, weight, f"{part}_norm")
        return rows

    def _with_bias(self, product: str, index: int, *weights: str) -> str:
        biases = [self._checkpoint.optional_layer(index, f"{weight}_bias") for weight in weights]
        present = [bias for bias in biases if bias is not None]
        if not present:
            return product
        bias = self._builder.constant(f"{product}.bias", np.concatenate(present).astype(self._activation))
        return self._builder.node("Add", [product, bias], f"{product}_biased")

    def _mlp(self, rows: str, index: int, name: str) -> str:
        node = self._builder.node
        weight = np.concatenate([self._checkpoint.layer(index, "gate"), self._checkpoint.layer(index, "up")])
        packed = self._linear.multiply(rows, weight, f"{name}.gate_up", f"{name}/gate_up", is_normed=True)
        packed = self._with_bias(packed, index, "gate", "up")
        gate, up = f"{name}/gate", f"{name}/up"
        node("Split", [packed], gate, up, axis=-1, num_outputs=2)
        # QuickGelu with alpha 1 is x * sigmoid(x) in one kernel.
        activated = node("QuickGelu", [gate], f"{name}/activated", domain=MICROSOFT, alpha=1.0)
        inner = node("Mul", [activated, up], inner_activation(index))
        product = self._linear.multiply(inner, self._checkpoint.layer(index, "down"), f"{name}.down", f"{name}/mlp")
        return self._with_bias(product, index, "down")

    def _save(self, path: Path) -> None:
        shape = self._shape
        inputs = [
            integer_input("input_ids", ["batch", "sequence"], bits=64),
            integer_input("seqlens_k", ["batch"], bits=32),
            integer_input("total_sequence_length", [], bits=32),
            integer_input("logits_indices", ["num_logits"], bits=64),
        ]
        outputs = [float_input("logits", ["num_logits", shape.vocab_size])]
        cache: list[str | int] = ["batch", shape.kv_heads, "capacity", shape.head_size]
        for index in range(shape.layers):
            for part in ("key", "value"):
                inputs.append(float_input(f"past.{index}.{part}", cache, self._activation))
                outputs.append(float_input(f"present.{index}.{part}", cache, self._activation))
        self._builder.save(path, "decoder", inputs, outputs)
