"""A checkpoint folder of transformers (config.json, safetensors, tokenizer) as a `Checkpoint`."""

from __future__ import annotations

import re
from pathlib import Path

from ai_assistant.engine.model_package import Architecture
from ai_assistant.errors import ModelPackageError, UnsupportedArchitectureError
from ai_assistant.provision.checkpoint import TokenizerFiles, Weights
from ai_assistant.provision.folder_tokenizer import read_tokenizer
from ai_assistant.provision.model_card import card_licence
from ai_assistant.provision.model_config import ModelConfig, read_config
from ai_assistant.provision.safetensors_file import SafetensorsFolder

_EMBEDDING, _OUTPUT_NORM, _LM_HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"

_MODULES = {
    "attention_norm": "input_layernorm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attention_output": "self_attn.o_proj",
    "query_norm": "self_attn.q_norm",
    "key_norm": "self_attn.k_norm",
    "mlp_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
_BIAS = "_bias"
# Tables that old versions of transformers saved; they follow from config.json.
_DERIVED = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")


class SafetensorsCheckpoint:
    """Weights of a Llama, Mistral, Qwen2 or Qwen3 decoder, one tensor in memory at a time.

    The vocabulary is the tokenizer's. Matrices that were padded beyond it are cut, so that a token that no text has cannot
    be sampled.
    """

    def __init__(self, folder: Path) -> None:
        self._config = read_config(folder)
        self._tensors = SafetensorsFolder(folder)
        self._check_tensors()
        padded = self._config.architecture
        self._tokenizer, vocab_size = read_tokenizer(folder, rows=padded.vocab_size, eos_token_ids=self._config.eos_token_ids)
        self.architecture: Architecture = padded.model_copy(update={"vocab_size": vocab_size})
        self.name = self._config.name
        self.licence = card_licence(folder)
        self.is_tied = self._config.is_tied

    def embedding(self) -> Weights:
        return self._tensors.tensor(_EMBEDDING)[: self.architecture.vocab_size]

    def output_norm(self) -> Weights:
        return self._tensors.tensor(_OUTPUT_NORM)

    def lm_head(self) -> Weights:
        return self.embedding() if self.is_tied else self._tensors.tensor(_LM_HEAD)[: self.architecture.vocab_size]

    def layer(self, index: int, weight: str) -> Weights:
        return self._tensors.tensor(_tensor_name(index, weight))

    def optional_layer(self, index: int, weight: str) -> Weights | None:
        return self.layer(index, weight) if weight in self._config.optional_weights else None

    def tokenizer(self) -> TokenizerFiles:
        return self._tokenizer

    def _check_tensors(self) -> None:
        found = {name for name in self._tensors.tensor_names if not _DERIVED.fullmatch(name)}
        if self._config.architecture.layers > len(found):
            raise ModelPackageError(
                f"The model has too few tensors for {self._config.architecture.layers} layers; it is not whole."
            )
        expected = _expected_shapes(self._config)
        if missing := sorted(expected.keys() - found):
            raise ModelPackageError(f"The model has no tensor {missing[0]} ({len(missing)} missing); it is not whole.")
        if self._config.is_tied:
            # Some tools save the embedding a second time; transformers does not read it either.
            found.discard(_LM_HEAD)
        if unknown := sorted(found - expected.keys()):
            raise UnsupportedArchitectureError(
                f"The model has tensors that its config.json does not explain ({', '.join(unknown[:3])}); it is not supported."
            )
        for name, shape in expected.items():
            if (actual := self._tensors.shape(name)) != shape:
                raise ModelPackageError(
                    f"Tensor {name} has the shape {actual} instead of {shape}, which config.json says; the files do not belong"
                    " together, or are damaged."
                )


def _tensor_name(index: int, weight: str) -> str:
    module = _MODULES[weight.removesuffix(_BIAS)]
    return f"model.layers.{index}.{module}.{'bias' if weight.endswith(_BIAS) else 'weight'}"


def _expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    architecture = config.architecture
    hidden, inner = architecture.hidden_size, architecture.intermediate_size
    query, key_value = architecture.heads * architecture.head_size, architecture.kv_heads * architecture.head_size
    layer: dict[str, tuple[int, ...]] = {
        "attention_norm": (hidden,),
        "query": (query, hidden),
        "key": (key_value, hidden),
        "value": (key_value, hidden),
        "attention_output": (hidden, query),
        "mlp_norm": (hidden,),
        "gate": (inner, hidden),
        "up": (inner, hidden),
        "down": (hidden, inner),
    }
    for name in config.optional_weights:
        matrix = layer.get(name.removesuffix(_BIAS))
        layer[name] = matrix[:1] if matrix else (architecture.head_size,)
    shapes = {_tensor_name(index, weight): shape for index in range(architecture.layers) for weight, shape in layer.items()}
    shapes |= {_EMBEDDING: (architecture.vocab_size, hidden), _OUTPUT_NORM: (hidden,)}
    if not config.is_tied:
        shapes[_LM_HEAD] = (architecture.vocab_size, hidden)
    return shapes
