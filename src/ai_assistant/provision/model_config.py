"""Reads `config.json`, by which transformers describes a model.

What it says and this release does not understand is refused by name: a graph without it would still answer, wrongly.
Where a key is missing, it means what transformers takes it for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from ai_assistant.engine.model_package import Architecture
from ai_assistant.errors import ModelPackageError, UnsupportedArchitectureError, UnsupportedModelError
from ai_assistant.provision.checkpoint_json import (
    CONFIG_FILE,
    Count,
    Positive,
    Section,
    read_json_object,
    token_ids,
    unsupported,
    validated,
)
from ai_assistant.provision.model_card import hub_name
from ai_assistant.provision.rope_config import read_rotation


@dataclass(frozen=True)
class _Family:
    """A family's class in transformers, and what that takes missing keys for (None: what Llama does)."""

    class_name: str
    kv_heads: int | None = None
    head_size: int | None = None
    sliding_window: int | None = None


FAMILIES = {
    "llama": _Family("LlamaForCausalLM"),
    "mistral": _Family("MistralForCausalLM", kv_heads=8, sliding_window=4096),
    "qwen2": _Family("Qwen2ForCausalLM", kv_heads=32, sliding_window=4096),
    "qwen3": _Family("Qwen3ForCausalLM", kv_heads=32, head_size=128, sliding_window=4096),
}


# Keys that change what a model computes, and the values with which they do not.
_ORDINARY: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "partial_rotary_factor": (1, None),
    "use_mrope": (False, None),
    "rope_interleaved": (False, None),
}


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a decoder and which of the optional weights it has."""

    architecture: Architecture
    name: str | None
    is_tied: bool
    optional_weights: frozenset[str]
    eos_token_ids: tuple[int, ...]


class _Config(Section):
    name_or_path: str | None = Field(default=None, alias="_name_or_path")
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    vocab_size: Count
    max_position_embeddings: Count
    rms_norm_eps: Positive = 1e-6
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    rope_theta: Positive | None = None
    rope_scaling: dict[str, Any] | None = None
    # What transformers 5 writes instead of the two.
    rope_parameters: dict[str, Any] | None = None
    use_sliding_window: bool = False
    sliding_window: int | None = None
    max_window_layers: int = 28
    layer_types: list[Literal["full_attention", "sliding_attention"]] | None = None


def read_config(folder: Path) -> ModelConfig:
    """Understands `folder / config.json`; raises UnsupportedModelError and ModelPackageError."""
    content = read_json_object(folder / CONFIG_FILE)
    _refuse_quantised(content)
    family = _supported_family(content)
    _refuse_unsupported(content)
    config = validated(_Config, content)
    try:
        architecture = _architecture(config, family, content.keys())
    except ValidationError as error:
        first = error.errors()[0]
        raise UnsupportedModelError(f"The model's {first['loc'][0]} makes no sense: {first['msg']}.") from error
    return ModelConfig(
        architecture=architecture,
        name=hub_name(config.name_or_path),
        is_tied=config.tie_word_embeddings,
        optional_weights=_optional_weights(config, family),
        eos_token_ids=token_ids(content.get("eos_token_id"), CONFIG_FILE),
    )


def _architecture(config: _Config, family: str, given: Collection[str]) -> Architecture:
    assumed, heads = FAMILIES[family], config.num_attention_heads
    # An explicit null and a key that is missing are not the same to transformers.
    kv_heads = config.num_key_value_heads or (heads if "num_key_value_heads" in given else assumed.kv_heads or heads)
    head_size = config.head_dim or assumed.head_size or config.hidden_size // heads
    _check_heads(heads, kv_heads, head_size)
    rotation = read_rotation(
        config.rope_parameters or config.rope_scaling,
        theta=config.rope_theta,
        positions=config.max_position_embeddings,
        head_size=head_size,
    )
    window = config.sliding_window if "sliding_window" in given else assumed.sliding_window
    return Architecture(
        family=family,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        intermediate_size=config.intermediate_size,
        vocab_size=config.vocab_size,
        max_positions=rotation.positions,
        rope_theta=rotation.theta,
        rms_norm_eps=config.rms_norm_eps,
        rope_scaling=rotation.scaling,
        sliding_window=_window_of_all_layers(config, family, window, rotation.positions),
    )


def _supported_family(content: dict[str, Any]) -> str:
    family = content.get("model_type")
    classes = content.get("architectures")
    given = classes[0] if isinstance(classes, list) and classes else None
    if not isinstance(family, str) or family not in FAMILIES or given not in (None, FAMILIES[family].class_name):
        supported = ", ".join(sorted(entry.class_name for entry in FAMILIES.values()))
        raise UnsupportedArchitectureError(
            f"The architecture {given or family or 'of this model'} is not supported directly; supported are {supported}."
        )
    return family


def _refuse_quantised(content: dict[str, Any]) -> None:
    quantization = content.get("quantization_config") or content.get("compression_config")
    if quantization:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise UnsupportedModelError(
            f"The model is quantised ({method or 'quantization_config'}), which is not supported;"
            " choose its original weights, --precision makes them small here."
        )


def _refuse_unsupported(content: dict[str, Any]) -> None:
    auto_map = content.get("auto_map")
    if isinstance(auto_map, dict) and "AutoModelForCausalLM" in auto_map:
        raise UnsupportedModelError("This model uses code of its own (auto_map), which is not supported.")
    for key, ordinary in _ORDINARY.items():
        if key in content and content[key] not in ordinary:
            raise unsupported(f"{key} = {content[key]}")


def _check_heads(heads: int, kv_heads: int, head_size: int) -> None:
    if heads % kv_heads:
        raise ModelPackageError(f"{heads} heads cannot share {kv_heads} keys and values; {CONFIG_FILE} is damaged.")
    # ONNX Runtime's attention with rotation asks for it.
    if head_size % 16:
        raise UnsupportedArchitectureError(f"A head size of {head_size} is not supported: it must be a multiple of 16.")


def _window_of_all_layers(config: _Config, family: str, window: int | None, positions: int) -> int | None:
    """None where every token sees all before it."""
    if family == "llama" or (family != "mistral" and not config.use_sliding_window):
        return None
    types = set(config.layer_types or ())
    if not types and family != "mistral":
        first = min(max(config.max_window_layers, 0), config.num_hidden_layers)
        types |= {"full_attention"} if first else set()
        types |= {"sliding_attention"} if first < config.num_hidden_layers else set()
    if window is None or window >= positions or types == {"full_attention"}:
        return None
    if types - {"sliding_attention"}:
        raise unsupported("sliding-window attention in some of its layers only")
    return window


def _optional_weights(config: _Config, family: str) -> frozenset[str]:
    inputs = {"query_bias", "key_bias", "value_bias"}
    names: set[str] = set()
    if family == "qwen2":
        names |= inputs
    if family in {"llama", "qwen3"} and config.attention_bias:
        names |= inputs | {"attention_output_bias"}
    if family == "llama" and config.mlp_bias:
        names |= {"gate_bias", "up_bias", "down_bias"}
    if family == "qwen3":
        names |= {"query_norm", "key_norm"}
    return frozenset(names)
