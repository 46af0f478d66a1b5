"""Reads a decoder's numbers out of GGUF metadata.

Whatever this module does not understand it names and refuses: a graph without a scale or a rotation would still answer,
wrongly.
"""

from __future__ import annotations

import numpy as np
from pydantic import ValidationError

from ai_assistant.engine.model_package import Architecture, RopeScaling
from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.gguf_file import GgufFile
from ai_assistant.provision.rotary import linear_scaling, yarn_scaling

# Mistral's shape is stored under Llama's name.
SUPPORTED_FAMILIES = ("llama", "qwen2", "qwen3")

EMBEDDING, ROPE_FACTORS = "token_embd.weight", "rope_freqs.weight"

# Numbers that change what a model computes, and the value with which they do not.
_NEUTRAL = {
    "attention.clamp_kqv": 0.0,
    "attention.scale": 0.0,
    "attention.temperature_scale": 0.0,
    "attn_logit_softcapping": 0.0,
    "final_logit_softcapping": 0.0,
    "embedding_scale": 1.0,
    "logit_scale": 1.0,
    "residual_scale": 1.0,
    "rope.scaling.alpha": 0.0,
    "rope.scaling.attn_factor": 1.0,
    "rope.scaling.yarn_attn_factor": 1.0,
    "rope.scaling.yarn_ext_factor": 1.0,
    "rope.scaling.yarn_log_multiplier": 0.0,
}


def read_architecture(file: GgufFile) -> Architecture:
    """The numbers of a decoder; raises UnsupportedModelError and ModelPackageError."""
    family = file.text("general.architecture")
    # Parts of a split model are known before their tensors are missed.
    if (parts := file.integer("split.count") or 1) > 1:
        raise UnsupportedModelError(
            f"The model is one of {parts} GGUF parts; join them with `llama-gguf-split --merge FIRST_PART WHOLE`, and use that."
        )
    if family not in SUPPORTED_FAMILIES:
        raise UnsupportedModelError(
            f"The architecture {family or 'of this file'} is not supported from GGUF; supported: "
            f"{', '.join(SUPPORTED_FAMILIES)} (Mistral's models are stored as llama)."
        )
    _refuse_unsupported(file, family)
    heads = file.required_integer(f"{family}.attention.head_count")
    kv_heads = file.integer(f"{family}.attention.head_count_kv") or heads
    if kv_heads > 0 and heads % kv_heads:
        raise ModelPackageError(f"{heads} heads cannot share {kv_heads} keys and values; the model is damaged.")
    hidden_size = file.required_integer(f"{family}.embedding_length")
    head_size = file.integer(f"{family}.attention.key_length") or hidden_size // max(heads, 1)
    rotated = file.integer(f"{family}.rope.dimension_count")
    if rotated not in {None, head_size}:
        raise UnsupportedModelError(f"Rotating only {rotated} of {head_size} head dimensions is not supported.")
    # ONNX Runtime's attention with rotation asks for it.
    if head_size % 16:
        raise UnsupportedModelError(f"A head size of {head_size} is not supported: it must be a multiple of 16.")
    if EMBEDDING not in file.tensor_names:
        raise ModelPackageError(f"The model has no tensor {EMBEDDING}; it is not whole.")
    positions = file.required_integer(f"{family}.context_length")
    window = file.integer(f"{family}.attention.sliding_window") or None
    theta = file.number(f"{family}.rope.freq_base") or 10000.0
    try:
        return Architecture(
            family=family,
            layers=file.required_integer(f"{family}.block_count"),
            hidden_size=hidden_size,
            heads=heads,
            kv_heads=kv_heads,
            head_size=head_size,
            intermediate_size=file.required_integer(f"{family}.feed_forward_length"),
            vocab_size=file.shape(EMBEDDING)[0],
            max_positions=positions,
            rope_theta=theta,
            # Stored as fp32; the shortest decimal that gives the same fp32 is what the authors wrote.
            rms_norm_eps=float(str(np.float32(file.number(f"{family}.attention.layer_norm_rms_epsilon") or 1e-5))),
            rope_scaling=_rope_scaling(file, family, head_size, theta),
            sliding_window=window if window is None or window < positions else None,
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UnsupportedModelError(f"The model's {name} makes no sense: {first['msg']}.") from error


def _rope_scaling(file: GgufFile, family: str, head_size: int, theta: float) -> RopeScaling | None:
    # Files of before 2024 have the factor alone, under another name, and it was linear.
    factor = file.number(f"{family}.rope.scaling.factor") or file.number(f"{family}.rope.scale_linear")
    kind = file.text(f"{family}.rope.scaling.type") or ("linear" if factor else "none")
    if factor in {None, 1.0} and kind == "linear":
        kind = "none"
    if ROPE_FACTORS in file.tensor_names:
        if kind != "none":
            raise UnsupportedModelError(f"Rope scaling by factors per frequency and by {kind} together is not supported.")
        if (shape := file.shape(ROPE_FACTORS)) != (head_size // 2,):
            raise ModelPackageError(f"Tensor {ROPE_FACTORS} has the shape {shape} instead of {(head_size // 2,)}.")
        return RopeScaling(kind="llama3", divisors=tuple(file.tensor(ROPE_FACTORS).tolist()))
    if kind == "none":
        return None
    if factor is not None and factor > 0 and kind == "linear":
        return linear_scaling(head_size=head_size, factor=factor)
    if factor is not None and factor > 0 and kind == "yarn":
        return yarn_scaling(
            head_size=head_size,
            theta=theta,
            factor=factor,
            original_positions=file.required_integer(f"{family}.rope.scaling.original_context_length"),
            beta_fast=file.number(f"{family}.rope.scaling.yarn_beta_fast") or 32.0,
            beta_slow=file.number(f"{family}.rope.scaling.yarn_beta_slow") or 1.0,
        )
    raise UnsupportedModelError(
        f"Rope scaling ({kind}, factor {factor}) is not supported; supported: linear, yarn and Llama 3's."
    )


def _refuse_unsupported(file: GgufFile, family: str) -> None:
    for key, neutral in _NEUTRAL.items():
        if (number := file.number(f"{family}.{key}")) not in {None, neutral}:
            raise UnsupportedModelError(f"The model has {family}.{key} = {number}, which is not supported.")
    if file.integer(f"{family}.expert_count"):
        raise UnsupportedModelError("Mixture-of-experts models are not supported.")
    if file.integer(f"{family}.pooling_type"):
        raise UnsupportedModelError("The model makes embeddings or ranks, it does not chat.")
    if file.boolean(f"{family}.attention.causal") is False:
        raise UnsupportedModelError("Attention to later tokens is not supported.")
    if file.has(f"{family}.attention.sliding_window_pattern"):
        raise UnsupportedModelError("Sliding windows in some layers only are not supported.")
    of_keys, of_values = (file.integer(f"{family}.attention.{part}_length") for part in ("key", "value"))
    if of_keys != of_values:
        raise UnsupportedModelError(f"Keys of {of_keys} and values of {of_values} dimensions in one head are not supported.")
