"""Small random decoders, and GGUF files of them as llama.cpp's converter writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

Arrays = dict[str, np.ndarray[Any, Any]]

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"


def byte_letters() -> list[str]:
    """The 256 letters in which byte-level BPE spells bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


TOKENS = [*SPECIALS, *byte_letters(), "th", "the", "Ġthe"]
MERGES = ["t h", "th e", "Ġ the"]

TOKENIZER: Mapping[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.merges": MERGES,
    "tokenizer.ggml.token_type": [3] * len(SPECIALS) + [1] * (len(TOKENS) - len(SPECIALS)),
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.chat_template": TEMPLATE,
}


def write_gguf(path: Path, metadata: Mapping[str, Any], tensors: Arrays, *, kind: Kind = Kind.F32) -> Path:
    """Writes one file; matrices are stored as `kind`, as the converter does, everything else in fp32.

    `general.architecture` is one of the metadata. For kinds that the gguf package cannot quantise to, random blocks are
    written in place of the matrices.
    """
    values = dict(metadata)
    writer = gguf.GGUFWriter(path, values.pop("general.architecture"))
    for key, value in values.items():
        match value:
            case bool():
                writer.add_bool(key, value)
            case str():
                writer.add_string(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case list():
                writer.add_array(key, value)
    random = np.random.default_rng(len(tensors))
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or kind == Kind.F32:
            writer.add_tensor(name, tensor)
        else:
            writer.add_tensor(name, stored(tensor, kind, random), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def stored(values: np.ndarray[Any, Any], kind: Kind, random: np.random.Generator) -> np.ndarray[Any, Any]:
    """The bytes of a matrix in `kind`: its values, or random ones where nothing here can quantise to it."""
    try:
        return np.asarray(gguf.quantize(values, kind))
    except NotImplementedError:
        return random_blocks(kind, len(values), values.shape[1], random)


# Where the half-precision scales of a block are; everything else in a block may be any byte.
_SCALES = {Kind.Q2_K: (80, 82), Kind.Q3_K: (108,), Kind.Q4_K: (0, 2), Kind.Q5_K: (0, 2), Kind.Q6_K: (208,)}


def random_blocks(kind: Kind, rows: int, columns: int, random: np.random.Generator) -> np.ndarray[Any, Any]:
    """Random blocks with sensible scales [rows, bytes]."""
    size, width = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (rows * columns // size, width), np.uint8)
    for place in _SCALES[kind]:
        scales = (random.standard_normal(len(blocks)) / 1000).astype(np.float16)
        blocks[:, place : place + 2] = scales[:, None].view(np.uint8)
    return blocks.reshape(rows, -1)


@dataclass
class RandomDecoder:
    """A decoder as its authors publish it: `config` is its config.json, `weights` go by transformers' names."""

    family: str
    is_tied: bool = True
    has_biases: bool | None = None
    seed: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    rope: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    weights: Arrays = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = {
            "architectures": [f"{self.family.capitalize()}ForCausalLM"],
            "model_type": self.family,
            "hidden_act": "silu",
            "num_hidden_layers": 2,
            "hidden_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16 if self.family != "qwen3" else 32,
            "intermediate_size": 96,
            "vocab_size": len(TOKENS),
            "max_position_embeddings": 256,
            "rope_theta": 5000.0,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": self.is_tied,
            "attention_bias": bool(self.has_biases),
            "mlp_bias": bool(self.has_biases),
            **self.sizes,
        }
        if self.rope:
            self.config["rope_scaling"] = self.rope
        random = np.random.default_rng(self.seed)
        hidden, inner, head = (self.config[key] for key in ("hidden_size", "intermediate_size", "head_dim"))
        query, key = (self.config[f"num_{part}_heads"] * head for part in ("attention", "key_value"))

        def matrix(rows: int, columns: int) -> np.ndarray[Any, Any]:
            return (random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

        def vector(size: int, mean: float) -> np.ndarray[Any, Any]:
            return (mean + 0.2 * random.standard_normal(size)).astype(np.float32)

        w = self.weights
        w["model.embed_tokens.weight"] = matrix(self.config["vocab_size"], hidden) * 4
        w["model.norm.weight"] = vector(hidden, 1)
        if not self.is_tied:
            w["lm_head.weight"] = matrix(self.config["vocab_size"], hidden) * 4
        shapes = {
            "self_attn.q_proj": (query, hidden),
            "self_attn.k_proj": (key, hidden),
            "self_attn.v_proj": (key, hidden),
            "self_attn.o_proj": (hidden, query),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        for index in range(self.config["num_hidden_layers"]):
            layer = f"model.layers.{index}"
            for name, shape in shapes.items():
                w[f"{layer}.{name}.weight"] = matrix(*shape)
                is_biased = self.has_biases or (self.family == "qwen2" and name.endswith(("q_proj", "k_proj", "v_proj")))
                if is_biased:
                    w[f"{layer}.{name}.bias"] = vector(shape[0], 0)
            w |= {f"{layer}.{norm}.weight": vector(hidden, 1) for norm in ("input_layernorm", "post_attention_layernorm")}
            if self.family == "qwen3":
                w |= {f"{layer}.self_attn.{norm}.weight": vector(head, 1) for norm in ("q_norm", "k_norm")}

    def metadata(self) -> dict[str, Any]:
        """What the converter writes about it, and a tokenizer."""
        # Mistral's shape is stored under Llama's name.
        family = "llama" if self.family == "mistral" else self.family
        config = self.config
        return {
            "general.architecture": family,
            "general.name": "Random",
            f"{family}.block_count": config["num_hidden_layers"],
            f"{family}.context_length": config["max_position_embeddings"],
            f"{family}.embedding_length": config["hidden_size"],
            f"{family}.feed_forward_length": config["intermediate_size"],
            f"{family}.attention.head_count": config["num_attention_heads"],
            f"{family}.attention.head_count_kv": config["num_key_value_heads"],
            f"{family}.attention.key_length": config["head_dim"],
            f"{family}.attention.value_length": config["head_dim"],
            f"{family}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
            f"{family}.rope.freq_base": config["rope_theta"],
            **TOKENIZER,
        }

    def tensors(self) -> Arrays:
        """The weights by GGUF's names, in GGUF's order of rows."""
        names = {
            "self_attn.q_proj": "attn_q",
            "self_attn.k_proj": "attn_k",
            "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output",
            "self_attn.q_norm": "attn_q_norm",
            "self_attn.k_norm": "attn_k_norm",
            "mlp.gate_proj": "ffn_gate",
            "mlp.up_proj": "ffn_up",
            "mlp.down_proj": "ffn_down",
            "input_layernorm": "attn_norm",
            "post_attention_layernorm": "ffn_norm",
        }
        heads = {"attn_q": self.config["num_attention_heads"], "attn_k": self.config["num_key_value_heads"]}
        whole = {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight"}
        tensors = {}
        for name, values in self.weights.items():
            match name.removeprefix("model.").split("."):
                case ["layers", index, *parts, suffix]:
                    ours = names[".".join(parts)]
                    if self.family in {"llama", "mistral"} and ours in heads:
                        values = interleaved(values, heads[ours])
                    tensors[f"blk.{index}.{ours}.{suffix}"] = values
                case ["lm_head", _]:
                    tensors["output.weight"] = values
                case [part, _]:
                    tensors[whole[part]] = values
        return tensors

    def write_gguf(
        self, path: Path, *, metadata: Mapping[str, Any] | None = None, tensors: Arrays | None = None, kind: Kind = Kind.F32
    ) -> Path:
        """Writes the model; `metadata` and `tensors` are added or replace what the converter would write."""
        return write_gguf(path, self.metadata() | dict(metadata or {}), self.tensors() | (tensors or {}), kind=kind)


def interleaved(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """What the converter does to Llama's query and key rows."""
    pairs = values.reshape(heads, 2, len(values) // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(values.shape))
