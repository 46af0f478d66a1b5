"""What cannot be converted faithfully is refused with its name, never with a traceback of a parser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_writer import RandomDecoder, write_gguf

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint
from unit.provision.tiny_llama import EPS, HEAD, HIDDEN, THETA, VOCABULARY, TinyLlama


def test_numbers_and_weights(tiny: TinyLlama, tiny_gguf: Path) -> None:
    checkpoint = GgufCheckpoint(tiny_gguf)
    shape = checkpoint.architecture
    assert (shape.head_size, shape.vocab_size, shape.rope_theta, shape.rms_norm_eps) == (HEAD, VOCABULARY, THETA, EPS)
    assert (checkpoint.name, checkpoint.licence, checkpoint.is_tied) == ("Tiny", "apache-2.0", True)
    for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"), ("down", "down")):
        np.testing.assert_array_equal(checkpoint.layer(1, ours), tiny.weights[f"1.{theirs}"])


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"general.architecture": "mistral3"}, r"architecture mistral3 .* llama, qwen2, qwen3 \(Mistral's"),
        ({"general.architecture": "phi3"}, "architecture phi3"),
        ({"llama.rope.scaling.type": "longrope", "llama.rope.scaling.factor": 4.0}, r"Rope scaling \(longrope, factor 4.0\)"),
        ({"llama.rope.scaling.type": "yarn"}, r"Rope scaling \(yarn, factor None\)"),
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, "no metadata .*original_context_length"),
        ({"llama.rope.scaling.attn_factor": 1.5}, r"llama.rope.scaling.attn_factor = 1.5"),
        ({"llama.attention.sliding_window_pattern": 2}, "in some layers only"),
        ({"llama.attention.causal": False}, "later tokens"),
        ({"llama.pooling_type": 3}, "embeddings"),
        ({"llama.logit_scale": 0.5}, "llama.logit_scale = 0.5"),
        ({"llama.expert_count": 8}, "Mixture-of-experts"),
        ({"llama.rope.dimension_count": 8}, "only 8 of 16"),
        ({"llama.attention.key_length": 8, "llama.attention.value_length": 8}, "head size of 8 .* multiple of 16"),
        ({"llama.attention.key_length": 16, "llama.attention.value_length": 32}, "Keys of 16 and values of 32"),
        ({"split.count": 3}, "one of 3 GGUF parts; join them with `llama-gguf-split --merge"),
        ({"llama.context_length": 4_000_000_000}, "max_positions makes no sense: .* less than"),
        ({"llama.block_count": "two"}, "llama.block_count .* is not a whole number"),
        ({"llama.block_count": True}, "llama.block_count .* is not a whole number"),
        ({"llama.attention.head_count_kv": [2, 4]}, "head_count_kv .* is not a whole number"),
        ({"llama.attention.head_count": 0}, "heads makes no sense"),
    ],
)
def test_unsupported_metadata_is_named(tiny: TinyLlama, tmp_path: Path, metadata: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnsupportedModelError, match=sentence):
        GgufCheckpoint(tiny.write_gguf(tmp_path / "m.gguf", metadata=metadata))


def test_unsupported_tensors_are_named(tiny: TinyLlama, tmp_path: Path) -> None:
    model = tiny.write_gguf(tmp_path / "m.gguf", tensors={"blk.0.attn_q_norm.weight": np.ones(HEAD, np.float32)})
    with pytest.raises(UnsupportedModelError, match=r"tensors that a plain llama .* \(blk.0.attn_q_norm.weight\)"):
        GgufCheckpoint(model)


@pytest.mark.parametrize(
    ("family", "without"),
    [("qwen3", "blk.0.attn_q_norm.weight"), ("qwen3", "blk.1.attn_k_norm.weight"), ("qwen2", "blk.0.attn_k.bias")],
)
def test_what_a_family_needs_is_missed(tmp_path: Path, family: str, without: str) -> None:
    decoder = RandomDecoder(family)
    tensors = decoder.tensors()
    del tensors[without]
    with pytest.raises(ModelPackageError, match=f"no tensor {without}"):
        GgufCheckpoint(write_gguf(tmp_path / "m.gguf", decoder.metadata(), tensors))


def test_heads_that_cannot_share_are_refused(tmp_path: Path) -> None:
    decoder = RandomDecoder("llama", sizes={"num_attention_heads": 4, "num_key_value_heads": 3})
    with pytest.raises(ModelPackageError, match="4 heads cannot share 3 keys and values"):
        GgufCheckpoint(write_gguf(tmp_path / "m.gguf", decoder.metadata(), {}))


def test_rope_factors_of_another_size_are_refused(tiny: TinyLlama, tmp_path: Path) -> None:
    model = tiny.write_gguf(tmp_path / "m.gguf", tensors={"rope_freqs.weight": np.ones(5, np.float32)})
    with pytest.raises(ModelPackageError, match=r"rope_freqs.weight has the shape \(5,\) instead of \(8,\)"):
        GgufCheckpoint(model)


@pytest.mark.parametrize("factor", [-1.0, 0.0, float("nan")])
def test_rope_factors_that_make_no_sense_are_refused(tiny: TinyLlama, tmp_path: Path, factor: float) -> None:
    model = tiny.write_gguf(tmp_path / "m.gguf", tensors={"rope_freqs.weight": np.full(8, factor, np.float32)})
    with pytest.raises(UnsupportedModelError, match=r"divisors.* makes no sense"):
        GgufCheckpoint(model)


def test_a_missing_and_a_misshapen_tensor_are_named(tiny: TinyLlama, tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match=r"no tensor blk.1.ffn_up.weight"):
        GgufCheckpoint(tiny.write_gguf(tmp_path / "a.gguf", without="blk.1.ffn_up.weight"))
    wrong = {"output_norm.weight": np.ones(HIDDEN * 2, np.float32)}
    with pytest.raises(UnsupportedModelError, match=r"output_norm.weight has the shape \(128,\) instead of \(64,\)"):
        GgufCheckpoint(tiny.write_gguf(tmp_path / "b.gguf", tensors=wrong))


def test_more_layers_than_tensors_are_refused_at_once(tiny: TinyLlama, tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match="too few tensors for 4000000000 layers"):
        GgufCheckpoint(tiny.write_gguf(tmp_path / "m.gguf", metadata={"llama.block_count": 4_000_000_000}))
