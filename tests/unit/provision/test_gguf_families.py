"""Whole random models of every family from GGUF give the logits that the published formulas give for their weights."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_writer import SPECIALS, TOKENS, RandomDecoder
from tokenizers import Tokenizer

from ai_assistant.provision.checkpoint import Checkpoint
from ai_assistant.provision.checkpoints import open_checkpoint
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint
from ai_assistant.provision.graph import write_graph
from ai_assistant.provision.graph_session import GraphSession
from unit.provision.tiny_checkpoint import write_safetensors, write_tokenizer

IDS = [5, 100, 7, 7, 42, 200, 3, 261, 90, 11, 18, 18, 77, 250, 31, 9, 140, 2, 61, 254]
Array = np.ndarray[Any, Any]


def logits_by_formula(
    decoder: RandomDecoder, *, divisors: Any = 1.0, table_scale: float = 1.0, window: int | None = None
) -> Array:
    """Logits after every token of IDS. `window` counts the tokens that a token sees, itself among them."""
    w, config, length = decoder.weights, decoder.config, len(IDS)
    heads, kv_heads, head = (config[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    frequencies = config["rope_theta"] ** (-np.arange(0, head, 2) / head) / divisors
    angles = np.concatenate([np.arange(length)[:, None] * frequencies] * 2, axis=1)[:, None]

    def normed(x: Array, name: str) -> Array:
        scale = np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"])
        return np.asarray(x / scale * w[f"{name}.weight"])

    def linear(x: Array, name: str) -> Array:
        return np.asarray(x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0))

    def rotated(x: Array) -> Array:
        turned = np.concatenate([-x[..., head // 2 :], x[..., : head // 2]], axis=-1)
        return np.asarray(table_scale * (x * np.cos(angles) + turned * np.sin(angles)))

    distance = np.arange(length)[:, None] - np.arange(length)
    hidden = (distance < 0) | (distance >= (window or length))
    x = w["model.embed_tokens.weight"][IDS].astype(np.float64)
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        rows = normed(x, f"{layer}.input_layernorm")
        query = linear(rows, f"{layer}.self_attn.q_proj").reshape(length, heads, head)
        key = linear(rows, f"{layer}.self_attn.k_proj").reshape(length, kv_heads, head)
        value = linear(rows, f"{layer}.self_attn.v_proj").reshape(length, kv_heads, head).repeat(heads // kv_heads, axis=1)
        if decoder.family == "qwen3":
            query, key = normed(query, f"{layer}.self_attn.q_norm"), normed(key, f"{layer}.self_attn.k_norm")
        key = rotated(key).repeat(heads // kv_heads, axis=1)
        scores = np.einsum("qhd,khd->hqk", rotated(query), key) / np.sqrt(head)
        scores[:, hidden] = -np.inf
        attention = np.exp(scores - scores.max(-1, keepdims=True))
        attention /= attention.sum(-1, keepdims=True)
        x = x + linear(np.einsum("hqk,khd->qhd", attention, value).reshape(length, -1), f"{layer}.self_attn.o_proj")
        rows = normed(x, f"{layer}.post_attention_layernorm")
        gate = linear(rows, f"{layer}.mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(rows, f"{layer}.mlp.up_proj"), f"{layer}.mlp.down_proj")
    head_matrix = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    return np.asarray(normed(x, "model.norm") @ head_matrix.T)


def logits(checkpoint: Checkpoint, folder: Path) -> Array:
    folder.mkdir()
    write_graph(checkpoint, folder, precision="fp32")
    return GraphSession(folder / "model.onnx", checkpoint.architecture).logits(IDS)


def logits_from_gguf(path: Path, folder: Path) -> Array:
    return logits(GgufCheckpoint(path), folder)


@pytest.mark.parametrize(
    "decoder",
    [
        RandomDecoder("llama"),
        RandomDecoder("llama", is_tied=False, has_biases=True, seed=1),
        RandomDecoder("mistral", is_tied=False, seed=2, sizes={"num_key_value_heads": 1}),
        RandomDecoder("qwen2", seed=3),
        RandomDecoder("qwen2", is_tied=False, seed=4, sizes={"num_attention_heads": 6, "head_dim": 48}),
        RandomDecoder("qwen3", seed=5),
        RandomDecoder("qwen3", is_tied=False, seed=6, sizes={"head_dim": 16, "num_key_value_heads": 4}),
    ],
    ids=lambda decoder: f"{decoder.family}-{decoder.seed}",
)
def test_a_family_is_computed_as_published(tmp_path: Path, decoder: RandomDecoder) -> None:
    found = logits_from_gguf(decoder.write_gguf(tmp_path / "m.gguf"), tmp_path / "g")
    np.testing.assert_allclose(found, logits_by_formula(decoder), atol=5e-4)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_gguf_is_the_checkpoint_folder_that_it_was_converted_from(tmp_path: Path, family: str) -> None:
    """The folders' reader is compared with transformers, so this compares GGUF with transformers too."""
    decoder = RandomDecoder(family, is_tied=family != "mistral", seed=7)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(decoder.config | {"eos_token_id": 2}))
    write_safetensors(folder / "model.safetensors", decoder.weights)
    write_tokenizer(folder)
    original, ours = open_checkpoint(folder), open_checkpoint(decoder.write_gguf(tmp_path / "m.gguf"))
    # Mistral's shape is stored under Llama's name.
    assert ours.architecture.model_copy(update={"family": family}) == original.architecture
    np.testing.assert_array_equal(logits(ours, tmp_path / "a"), logits(original, tmp_path / "b"))


def test_rows_that_only_fill_the_embedding_up_are_cut(tmp_path: Path) -> None:
    decoder, padding = RandomDecoder("qwen2", is_tied=False), 5
    kinds = [3] * len(SPECIALS) + [1] * (len(TOKENS) - len(SPECIALS)) + [5] * padding
    padded = {
        "tokenizer.ggml.tokens": TOKENS + [f"[PAD{len(TOKENS) + index}]" for index in range(padding)],
        "tokenizer.ggml.token_type": kinds,
    }
    rows = {name: decoder.tensors()[name] for name in ("token_embd.weight", "output.weight")}
    rows = {name: np.concatenate([values, values[:padding]]) for name, values in rows.items()}
    checkpoint = GgufCheckpoint(decoder.write_gguf(tmp_path / "m.gguf", metadata=padded, tensors=rows))
    assert checkpoint.architecture.vocab_size == len(TOKENS) == checkpoint.embedding().shape[0]
    assert Tokenizer.from_str(checkpoint.tokenizer().tokenizer_json).get_vocab_size() == len(TOKENS)
    np.testing.assert_allclose(logits(checkpoint, tmp_path / "g"), logits_by_formula(decoder), atol=5e-4)


def test_llama_3_s_factors_divide_the_frequencies(tmp_path: Path) -> None:
    decoder = RandomDecoder("llama")
    divisors = np.array([1, 1, 1.2, 2.5, 7.9, 8, 8, 8], np.float32)
    path = decoder.write_gguf(tmp_path / "m.gguf", tensors={"rope_freqs.weight": divisors})
    found = logits_from_gguf(path, tmp_path / "g")
    np.testing.assert_allclose(found, logits_by_formula(decoder, divisors=divisors), atol=5e-4)
    assert np.abs(found - logits_by_formula(decoder)).max() > 0.01
    assert GgufCheckpoint(path).architecture.rope_scaling.kind == "llama3"


@pytest.mark.parametrize("keys", [{"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, {"rope.scale_linear": 4.0}])
def test_linear_scaling_divides_all_frequencies(tmp_path: Path, keys: dict[str, Any]) -> None:
    decoder = RandomDecoder("llama")
    path = decoder.write_gguf(tmp_path / "m.gguf", metadata={f"llama.{key}": value for key, value in keys.items()})
    np.testing.assert_allclose(
        logits_from_gguf(path, tmp_path / "g"), logits_by_formula(decoder, divisors=np.full(8, 4.0)), atol=5e-4
    )


def test_yarn_divides_slow_frequencies_and_stretches(tmp_path: Path) -> None:
    decoder, factor, original = RandomDecoder("qwen2"), 4.0, 64
    keys = {"type": "yarn", "factor": factor, "original_context_length": original}
    path = decoder.write_gguf(tmp_path / "m.gguf", metadata={f"qwen2.rope.scaling.{key}": value for key, value in keys.items()})
    head, theta = 16, 5000.0
    # The paper: what turns more than 32 times over the original context stays, what turns less than once is interpolated.
    low, high = (head * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta)) for turns in (32, 1))
    low, high = max(math.floor(low), 0), math.ceil(high)
    interpolated = np.clip((np.arange(8) - low) / (high - low), 0, 1)
    divisors = 1 / (interpolated / factor + 1 - interpolated)
    expected = logits_by_formula(decoder, divisors=divisors, table_scale=0.1 * math.log(factor) + 1)
    np.testing.assert_allclose(logits_from_gguf(path, tmp_path / "g"), expected, atol=5e-4)


def test_a_sliding_window_hides_older_tokens(tmp_path: Path) -> None:
    decoder = RandomDecoder("mistral")
    path = decoder.write_gguf(tmp_path / "m.gguf", metadata={"llama.attention.sliding_window": 6})
    found = logits_from_gguf(path, tmp_path / "g")
    np.testing.assert_allclose(found, logits_by_formula(decoder, window=6), atol=5e-4)
    assert np.abs(found - logits_by_formula(decoder)).max() > 0.01


def test_a_window_as_long_as_the_context_is_none(tmp_path: Path) -> None:
    path = RandomDecoder("mistral").write_gguf(tmp_path / "m.gguf", metadata={"llama.attention.sliding_window": 256})
    assert GgufCheckpoint(path).architecture.sliding_window is None
