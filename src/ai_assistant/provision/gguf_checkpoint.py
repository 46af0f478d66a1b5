"""Llama, Mistral, Qwen2 and Qwen3 in GGUF as a `Checkpoint`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.checkpoint import TokenizerFiles, Weights
from ai_assistant.provision.gguf_architecture import EMBEDDING, ROPE_FACTORS, read_architecture
from ai_assistant.provision.gguf_file import GgufFile
from ai_assistant.provision.gguf_tokenizer import count_tokens, tokenizer_from_gguf

# By our names: those of a block's tensors in the file, and their dimensions.
_WEIGHTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "attention_norm": ("attn_norm.weight", ("hidden",)),
    "query": ("attn_q.weight", ("heads", "hidden")),
    "key": ("attn_k.weight", ("kv_heads", "hidden")),
    "value": ("attn_v.weight", ("kv_heads", "hidden")),
    "attention_output": ("attn_output.weight", ("hidden", "heads")),
    "mlp_norm": ("ffn_norm.weight", ("hidden",)),
    "gate": ("ffn_gate.weight", ("inner", "hidden")),
    "up": ("ffn_up.weight", ("inner", "hidden")),
    "down": ("ffn_down.weight", ("hidden", "inner")),
}
_BIASES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "query_bias": ("attn_q.bias", ("heads",)),
    "key_bias": ("attn_k.bias", ("kv_heads",)),
    "value_bias": ("attn_v.bias", ("kv_heads",)),
    "attention_output_bias": ("attn_output.bias", ("hidden",)),
    "gate_bias": ("ffn_gate.bias", ("inner",)),
    "up_bias": ("ffn_up.bias", ("inner",)),
    "down_bias": ("ffn_down.bias", ("hidden",)),
}
_HEAD_NORMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "query_norm": ("attn_q_norm.weight", ("head",)),
    "key_norm": ("attn_k_norm.weight", ("head",)),
}
# The biases that are added to one product in the graph.
_TOGETHER = (
    {"query_bias", "key_bias", "value_bias"},
    {"attention_output_bias"},
    {"gate_bias", "up_bias"},
    {"down_bias"},
)
_TENSORS = {**_WEIGHTS, **_BIASES, **_HEAD_NORMS}
_OUTPUT_NORM, _LM_HEAD = "output_norm.weight", "output.weight"


class GgufCheckpoint:
    """Weights of a decoder in one GGUF file; the file stays mapped, and one tensor at a time is read.

    Rows of the embedding that only fill it up are cut, so that a token that no text has cannot be sampled.
    """

    def __init__(self, path: Path) -> None:
        self._file = GgufFile(path)
        self.architecture = read_architecture(self._file)
        self._rows = self.architecture.vocab_size
        self.name = self._file.text("general.name")
        self.licence = self._file.text("general.license")
        self.is_tied = _LM_HEAD not in self._file.tensor_names
        self._present = {*_WEIGHTS, *self._optional_weights()}
        self._check_tensors()
        vocabulary = count_tokens(self._file, rows=self._rows)
        self.architecture = self.architecture.model_copy(update={"vocab_size": vocabulary})

    def embedding(self) -> Weights:
        return self._file.tensor(EMBEDDING)[: self.architecture.vocab_size]

    def output_norm(self) -> Weights:
        return self._file.tensor(_OUTPUT_NORM)

    def lm_head(self) -> Weights:
        return self.embedding() if self.is_tied else self._file.tensor(_LM_HEAD)[: self.architecture.vocab_size]

    def layer(self, index: int, weight: str) -> Weights:
        values = self._file.tensor(_tensor_name(index, weight))
        # Only Llama's are stored for a rotation of neighbours; the converter leaves Qwen's as they were.
        if self.architecture.family == "llama" and weight in {"query", "query_bias"}:
            return _half_rotated(values, self.architecture.heads)
        if self.architecture.family == "llama" and weight in {"key", "key_bias"}:
            return _half_rotated(values, self.architecture.kv_heads)
        return values

    def optional_layer(self, index: int, weight: str) -> Weights | None:
        return self.layer(index, weight) if weight in self._present else None

    def tokenizer(self) -> TokenizerFiles:
        return tokenizer_from_gguf(self._file, rows=self._rows)

    def _optional_weights(self) -> set[str]:
        """What the first layer has, which every other must have too."""
        names = self._file.tensor_names
        found = {weight for weight in _BIASES if _tensor_name(0, weight) in names}
        for group in _TOGETHER:
            if found & group:
                found |= group
        return found | set(_HEAD_NORMS) if self.architecture.family == "qwen3" else found

    def _check_tensors(self) -> None:
        self._file.refuse_unknown_kinds()
        layers, found = self.architecture.layers, self._file.tensor_names
        if layers * len(_WEIGHTS) > len(found):
            raise ModelPackageError(f"The model has too few tensors for {layers} layers; it is not whole.")
        expected = self._expected_shapes()
        if missing := sorted(expected.keys() - found):
            raise ModelPackageError(f"The model has no tensor {missing[0]} ({len(missing)} missing); it is not whole.")
        if unknown := sorted(found - expected.keys() - {ROPE_FACTORS}):
            raise UnsupportedModelError(
                f"The model has tensors that a plain {self.architecture.family} has not ({', '.join(unknown[:3])}); "
                "it is not supported."
            )
        for name, shape in expected.items():
            if (actual := self._file.shape(name)) != shape:
                raise UnsupportedModelError(f"Tensor {name} has the shape {actual} instead of {shape}.")

    def _expected_shapes(self) -> dict[str, tuple[int, ...]]:
        architecture = self.architecture
        sizes = {
            "hidden": architecture.hidden_size,
            "inner": architecture.intermediate_size,
            "head": architecture.head_size,
            "heads": architecture.heads * architecture.head_size,
            "kv_heads": architecture.kv_heads * architecture.head_size,
        }
        shapes = {
            _tensor_name(index, weight): tuple(sizes[dimension] for dimension in _TENSORS[weight][1])
            for index in range(architecture.layers)
            for weight in self._present
        }
        shapes[EMBEDDING] = (self._rows, architecture.hidden_size)
        shapes[_OUTPUT_NORM] = (architecture.hidden_size,)
        if not self.is_tied:
            shapes[_LM_HEAD] = shapes[EMBEDDING]
        return shapes


def _tensor_name(index: int, weight: str) -> str:
    return f"blk.{index}.{_TENSORS[weight][0]}"


def _half_rotated(values: Weights, heads: int) -> Weights:
    """Llama's rows of a head lie interleaved (0, n/2, 1, n/2+1, ...); the graph rotates halves, as the original weights do."""
    rows = len(values)
    pairs = values.reshape(heads, rows // heads // 2, 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(values.shape))
