"""The Llama family in GGUF as a `Checkpoint`.

Whatever this module does not understand it names and refuses: a graph without a bias or a rope scaling would still
answer, wrongly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ai_assistant.engine.model_package import Architecture
from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.checkpoint import TokenizerFiles, Weights
from ai_assistant.provision.gguf_file import GgufFile
from ai_assistant.provision.tokenizer import tokenizer_from_gguf

# Mistral's shape is stored under Llama's name.
SUPPORTED_FAMILIES = ("llama",)

_LAYER_TENSORS = {
    "attention_norm": "attn_norm",
    "query": "attn_q",
    "key": "attn_k",
    "value": "attn_v",
    "attention_output": "attn_output",
    "mlp_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
_EMBEDDING, _OUTPUT_NORM, _LM_HEAD = "token_embd.weight", "output_norm.weight", "output.weight"


class GgufCheckpoint:
    """Weights of a Llama-shaped decoder in one GGUF file."""

    def __init__(self, path: Path) -> None:
        self._file = GgufFile(path)
        self.architecture = _read_architecture(self._file)
        self.name = self._file.text("general.name")
        self.licence = self._file.text("general.license")
        self.is_tied = _LM_HEAD not in self._file.tensor_names
        self._check_tensors()

    def embedding(self) -> Weights:
        return self._file.tensor(_EMBEDDING)

    def output_norm(self) -> Weights:
        return self._file.tensor(_OUTPUT_NORM)

    def lm_head(self) -> Weights:
        return self.embedding() if self.is_tied else self._file.tensor(_LM_HEAD)

    def layer(self, index: int, weight: str) -> Weights:
        values = self._file.tensor(_tensor_name(index, weight))
        if weight == "query":
            return _half_rotated(values, self.architecture.heads)
        if weight == "key":
            return _half_rotated(values, self.architecture.kv_heads)
        return values

    def optional_layer(self, index: int, weight: str) -> Weights | None:
        return None

    def tokenizer(self) -> TokenizerFiles:
        return tokenizer_from_gguf(self._file, vocab_size=self.architecture.vocab_size)

    def _check_tensors(self) -> None:
        layers = self.architecture.layers
        if layers * len(_LAYER_TENSORS) > len(self._file.tensor_names):
            raise ModelPackageError(f"The model has too few tensors for {layers} layers; it is not whole.")
        expected = _expected_shapes(self.architecture)
        if not self.is_tied:
            expected[_LM_HEAD] = expected[_EMBEDDING]
        found = self._file.tensor_names
        if missing := sorted(expected.keys() - found):
            raise ModelPackageError(f"The model has no tensor {missing[0]} ({len(missing)} missing); it is not whole.")
        if unknown := sorted(found - expected.keys()):
            raise UnsupportedModelError(
                f"The model has tensors that a plain Llama has not ({', '.join(unknown[:3])}); it is not supported."
            )
        for name, shape in expected.items():
            if (actual := self._file.shape(name)) != shape:
                raise UnsupportedModelError(f"Tensor {name} has the shape {actual} instead of {shape}.")


def _tensor_name(index: int, weight: str) -> str:
    return f"blk.{index}.{_LAYER_TENSORS[weight]}.weight"


def _expected_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    hidden, inner = architecture.hidden_size, architecture.intermediate_size
    heads, kv_heads = architecture.heads * architecture.head_size, architecture.kv_heads * architecture.head_size
    layer: dict[str, tuple[int, ...]] = {
        "attention_norm": (hidden,),
        "query": (heads, hidden),
        "key": (kv_heads, hidden),
        "value": (kv_heads, hidden),
        "attention_output": (hidden, heads),
        "mlp_norm": (hidden,),
        "gate": (inner, hidden),
        "up": (inner, hidden),
        "down": (hidden, inner),
    }
    shapes = {_tensor_name(index, weight): shape for index in range(architecture.layers) for weight, shape in layer.items()}
    shapes[_EMBEDDING] = (architecture.vocab_size, hidden)
    shapes[_OUTPUT_NORM] = (hidden,)
    return shapes


def _half_rotated(values: Weights, heads: int) -> Weights:
    """GGUF keeps the rows of a head interleaved (0, n/2, 1, n/2+1, ...); the graph rotates halves, as the original weights do."""
    rows, columns = values.shape
    return np.ascontiguousarray(values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns))


def _read_architecture(file: GgufFile) -> Architecture:
    family = file.text("general.architecture")
    if family not in SUPPORTED_FAMILIES:
        raise UnsupportedModelError(
            f"The architecture {family or 'of this file'} is not supported from GGUF; supported: {', '.join(SUPPORTED_FAMILIES)}."
        )
    _refuse_unsupported(file, family)
    heads = file.required_integer(f"{family}.attention.head_count")
    hidden_size = file.required_integer(f"{family}.embedding_length")
    head_size = file.integer(f"{family}.attention.key_length") or hidden_size // max(heads, 1)
    rotated = file.integer(f"{family}.rope.dimension_count")
    if rotated not in {None, head_size}:
        raise UnsupportedModelError(f"Rotating only {rotated} of {head_size} head dimensions is not supported.")
    if head_size % 8:
        raise UnsupportedModelError(f"A head size of {head_size} is not supported: it must be a multiple of 8.")
    if _EMBEDDING not in file.tensor_names:
        raise ModelPackageError(f"The model has no tensor {_EMBEDDING}; it is not whole.")
    try:
        return Architecture(
            family=family,
            layers=file.required_integer(f"{family}.block_count"),
            hidden_size=hidden_size,
            heads=heads,
            kv_heads=file.integer(f"{family}.attention.head_count_kv") or heads,
            head_size=head_size,
            intermediate_size=file.required_integer(f"{family}.feed_forward_length"),
            vocab_size=file.shape(_EMBEDDING)[0],
            max_positions=file.required_integer(f"{family}.context_length"),
            rope_theta=file.number(f"{family}.rope.freq_base") or 10000.0,
            # Stored as fp32; the shortest decimal that gives the same fp32 is what the authors wrote.
            rms_norm_eps=float(str(np.float32(file.number(f"{family}.attention.layer_norm_rms_epsilon") or 1e-5))),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UnsupportedModelError(f"The model's {first['loc'][0]} makes no sense: {first['msg']}.") from error


def _refuse_unsupported(file: GgufFile, family: str) -> None:
    scaling = file.text(f"{family}.rope.scaling.type")
    if scaling not in {None, "none"}:
        raise UnsupportedModelError(f"Rope scaling ({scaling}) is not supported.")
    if "rope_freqs.weight" in file.tensor_names:
        raise UnsupportedModelError("Rope scaling (per-frequency factors, as in Llama 3.1) is not supported.")
    if file.integer(f"{family}.attention.sliding_window"):
        raise UnsupportedModelError("Sliding-window attention is not supported.")
    if file.integer(f"{family}.expert_count"):
        raise UnsupportedModelError("Mixture-of-experts models are not supported.")
    if (parts := file.integer("split.count") or 1) > 1:
        raise UnsupportedModelError(f"The model is one of {parts} GGUF parts; merge them into one file first.")
    key, value = file.integer(f"{family}.attention.key_length"), file.integer(f"{family}.attention.value_length")
    if key != value:
        raise UnsupportedModelError(f"Keys of {key} and values of {value} dimensions in one head are not supported.")
