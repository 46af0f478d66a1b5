"""Checkpoint folders small enough for a unit test, as transformers writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from unit.provision.tiny_llama import (
    EPS,
    HEAD,
    HEADS,
    HIDDEN,
    INNER,
    KV_HEADS,
    LAYERS,
    POSITIONS,
    THETA,
    TOKENS,
    VOCABULARY,
    TinyLlama,
)

SPECIALS = TOKENS[:3]  # <|endoftext|>, <|im_start|>, <|im_end|>
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the")]
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
    "rms_norm_eps": EPS,
    "rope_theta": THETA,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "eos_token_id": 2,
}
_MODULES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "norm1": "input_layernorm",
    "norm2": "post_attention_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
}
_SAFETENSORS_NAMES = {"float32": "F32", "float16": "F16", "uint16": "BF16"}


def tensors_of(tiny: TinyLlama) -> dict[str, np.ndarray[Any, Any]]:
    """The model's weights by the names of transformers."""
    tensors = {"model.embed_tokens.weight": tiny.weights["embed"], "model.norm.weight": tiny.weights["norm"]}
    if not tiny.is_tied:
        tensors["lm_head.weight"] = tiny.weights["head"]
    for name, values in tiny.weights.items():
        index, _, ours = name.partition(".")
        if ours:
            weight = "bias" if ours.endswith("_bias") else "weight"
            tensors[f"model.layers.{index}.{_MODULES[ours.removesuffix('_bias')]}.{weight}"] = values
    return tensors


def write_safetensors(path: Path, tensors: dict[str, np.ndarray[Any, Any]]) -> Path:
    """One file; arrays of uint16 are bf16 numbers."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, values in tensors.items():
        raw = values.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": _SAFETENSORS_NAMES[values.dtype.name], "shape": list(values.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def write_tokenizer(folder: Path, *, added: tuple[str, ...] = ()) -> None:
    """A byte-level BPE tokenizer, `added` behind its vocabulary, and the files around it."""
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(TOKENS)}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in (*SPECIALS, *added)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"chat_template": TEMPLATE, "bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_checkpoint(
    folder: Path,
    tiny: TinyLlama,
    *,
    config: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray[Any, Any]] | None = None,
) -> Path:
    """A folder with all that a model needs; `config` is added to what it would say, `tensors` replace the weights."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"tie_word_embeddings": tiny.is_tied} | (config or {})))
    write_safetensors(folder / "model.safetensors", tensors or tensors_of(tiny))
    write_tokenizer(folder)
    return folder
