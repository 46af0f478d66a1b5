"""A random Llama small enough for a unit test: its weights as PyTorch keeps them, a GGUF file, and its formulas in numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf_writer import TOKENIZER, TOKENS, interleaved, write_gguf

LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD, INNER, POSITIONS = 2, 64, 4, 2, 16, 96, 512
THETA, EPS = 5000.0, 1e-5
VOCABULARY = len(TOKENS)


@dataclass
class TinyLlama:
    """`weights` by original names; `is_tied` leaves out the output matrix.

    Biases, norms of queries and keys and a sliding window are what other families have.
    """

    is_tied: bool = True
    seed: int = 0
    has_biases: bool = False
    has_head_norms: bool = False
    window: int | None = None
    weights: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)

        def matrix(rows: int, columns: int) -> np.ndarray[Any, Any]:
            return (random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

        def norm() -> np.ndarray[Any, Any]:
            return (1 + 0.1 * random.standard_normal(HIDDEN)).astype(np.float32)

        self.weights["embed"] = matrix(VOCABULARY, HIDDEN) * 4
        self.weights["norm"] = norm()
        self.weights["head"] = self.weights["embed"] if self.is_tied else matrix(VOCABULARY, HIDDEN) * 4
        for index in range(LAYERS):
            shapes = {
                "q": (HEADS * HEAD, HIDDEN),
                "k": (KV_HEADS * HEAD, HIDDEN),
                "v": (KV_HEADS * HEAD, HIDDEN),
                "o": (HIDDEN, HEADS * HEAD),
                "gate": (INNER, HIDDEN),
                "up": (INNER, HIDDEN),
                "down": (HIDDEN, INNER),
            }
            self.weights |= {f"{index}.{name}": matrix(*shape) for name, shape in shapes.items()}
            self.weights |= {f"{index}.norm1": norm(), f"{index}.norm2": norm()}
            if self.has_biases:
                biases = {f"{index}.{name}_bias": 0.5 * random.standard_normal(rows) for name, (rows, _) in shapes.items()}
                self.weights |= {name: bias.astype(np.float32) for name, bias in biases.items()}
            if self.has_head_norms:
                self.weights |= {f"{index}.{name}_norm": norm()[:HEAD] for name in ("q", "k")}

    def logits(self, token_ids: list[int]) -> np.ndarray[Any, Any]:
        """Logits after every token, the way the paper's formulas read."""
        w, length = self.weights, len(token_ids)
        frequencies = THETA ** (-np.arange(0, HEAD, 2) / HEAD)
        angles = np.concatenate([np.arange(length)[:, None] * frequencies] * 2, axis=1)[:, None]

        def rotated(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            half = np.concatenate([-x[..., HEAD // 2 :], x[..., : HEAD // 2]], axis=-1)
            return x * np.cos(angles) + half * np.sin(angles)

        def normed(x: np.ndarray[Any, Any], weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * weight

        def linear(x: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
            return np.asarray(x @ w[name].T + w.get(f"{name}_bias", 0))

        def head_normed(x: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
            return normed(x, w[name]) if self.has_head_norms else x

        positions = np.arange(length)
        is_hidden = positions[None] > positions[:, None]
        if self.window:
            is_hidden |= positions[None] <= positions[:, None] - self.window
        x = w["embed"][token_ids].astype(np.float64)
        for index in range(LAYERS):
            rows = normed(x, w[f"{index}.norm1"])
            query = linear(rows, f"{index}.q").reshape(length, HEADS, HEAD)
            key = linear(rows, f"{index}.k").reshape(length, KV_HEADS, HEAD)
            value = linear(rows, f"{index}.v").reshape(length, KV_HEADS, HEAD).repeat(HEADS // KV_HEADS, axis=1)
            query = rotated(head_normed(query, f"{index}.q_norm"))
            key = rotated(head_normed(key, f"{index}.k_norm")).repeat(HEADS // KV_HEADS, axis=1)
            scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(HEAD)
            scores[:, is_hidden] = -np.inf
            attention = np.exp(scores - scores.max(-1, keepdims=True))
            attention /= attention.sum(-1, keepdims=True)
            x = x + linear(np.einsum("hqk,khd->qhd", attention, value).reshape(length, -1), f"{index}.o")
            rows = normed(x, w[f"{index}.norm2"])
            gate = linear(rows, f"{index}.gate")
            x = x + linear(gate / (1 + np.exp(-gate)) * linear(rows, f"{index}.up"), f"{index}.down")
        return np.asarray(normed(x, w["norm"]) @ w["head"].T)

    def write_gguf(
        self,
        path: Path,
        *,
        metadata: dict[str, Any] | None = None,
        tensors: dict[str, np.ndarray[Any, Any]] | None = None,
        without: str | None = None,
    ) -> Path:
        """Writes the model as llama.cpp's converter does; `metadata` and `tensors` are added or replace what it would write."""
        values: dict[str, Any] = {
            "general.architecture": "llama",
            "general.name": "Tiny",
            "general.license": "apache-2.0",
            "llama.block_count": LAYERS,
            "llama.context_length": POSITIONS,
            "llama.embedding_length": HIDDEN,
            "llama.feed_forward_length": INNER,
            "llama.attention.head_count": HEADS,
            "llama.attention.head_count_kv": KV_HEADS,
            "llama.attention.layer_norm_rms_epsilon": EPS,
            "llama.rope.freq_base": THETA,
            **TOKENIZER,
        } | (metadata or {})
        all_tensors = self._gguf_tensors() | (tensors or {})
        all_tensors.pop(without or "", None)
        return write_gguf(path, values, all_tensors)

    def _gguf_tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        w = self.weights
        tensors = {"token_embd.weight": w["embed"], "output_norm.weight": w["norm"]}
        if not self.is_tied:
            tensors["output.weight"] = w["head"]
        names = {
            "attn_norm": "norm1",
            "attn_q": "q",
            "attn_k": "k",
            "attn_v": "v",
            "attn_output": "o",
            "ffn_norm": "norm2",
            "ffn_gate": "gate",
            "ffn_up": "up",
            "ffn_down": "down",
        }
        for index in range(LAYERS):
            for theirs, ours in names.items():
                tensor = w[f"{index}.{ours}"]
                if ours in {"q", "k"}:
                    tensor = interleaved(tensor, HEADS if ours == "q" else KV_HEADS)
                tensors[f"blk.{index}.{theirs}.weight"] = tensor
        return tensors
