"""What cannot be converted faithfully is refused with its name, never with a traceback of a parser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
        ({"general.architecture": "qwen2"}, "architecture qwen2"),
        ({"llama.rope.scaling.type": "yarn"}, r"Rope scaling \(yarn\)"),
        ({"llama.attention.sliding_window": 4096}, "Sliding-window"),
        ({"llama.expert_count": 8}, "Mixture-of-experts"),
        ({"llama.rope.dimension_count": 8}, "only 8 of 16"),
        ({"llama.attention.key_length": 16, "llama.attention.value_length": 32}, "Keys of 16 and values of 32"),
        ({"split.count": 3}, "one of 3 GGUF parts"),
        ({"llama.block_count": "two"}, "llama.block_count .* is not a whole number"),
        ({"llama.attention.head_count": 0}, "heads makes no sense"),
    ],
)
def test_unsupported_metadata_is_named(tiny: TinyLlama, tmp_path: Path, metadata: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnsupportedModelError, match=sentence):
        GgufCheckpoint(tiny.write_gguf(tmp_path / "m.gguf", metadata=metadata))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("rope_freqs.weight", "Rope scaling"), ("blk.0.attn_q.bias", r"tensors that .* \(blk.0.attn_q.bias\)")],
)
def test_unsupported_tensors_are_named(tiny: TinyLlama, tmp_path: Path, name: str, sentence: str) -> None:
    model = tiny.write_gguf(tmp_path / "m.gguf", tensors={name: np.ones(HIDDEN, np.float32)})
    with pytest.raises(UnsupportedModelError, match=sentence):
        GgufCheckpoint(model)


def test_a_missing_and_a_misshapen_tensor_are_named(tiny: TinyLlama, tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match=r"no tensor blk.1.ffn_up.weight"):
        GgufCheckpoint(tiny.write_gguf(tmp_path / "a.gguf", without="blk.1.ffn_up.weight"))
    wrong = {"output_norm.weight": np.ones(HIDDEN * 2, np.float32)}
    with pytest.raises(UnsupportedModelError, match=r"output_norm.weight has the shape \(128,\) instead of \(64,\)"):
        GgufCheckpoint(tiny.write_gguf(tmp_path / "b.gguf", tensors=wrong))


@pytest.mark.parametrize("kept", [4, 20, 200, 5000, -1])
def test_a_truncated_file_is_refused(tiny_gguf: Path, tmp_path: Path, kept: int) -> None:
    damaged = tmp_path / "cut.gguf"
    damaged.write_bytes(tiny_gguf.read_bytes()[:kept])
    with pytest.raises(ModelPackageError, match=r"cut.gguf is truncated or damaged .*download it again"):
        GgufCheckpoint(damaged)


def test_no_damage_is_a_surprise_or_takes_long(tiny_gguf: Path, tmp_path: Path) -> None:
    """Wrong bytes in the head: counts and lengths of billions among them."""
    content, damaged, random = tiny_gguf.read_bytes(), tmp_path / "m.gguf", np.random.default_rng(0)
    head = content.index(b"blk.1.ffn_down.weight")
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        for place in random.integers(4, head, 3):
            changed[place] = random.integers(256)
        damaged.write_bytes(changed)
        try:
            checkpoint = GgufCheckpoint(damaged)
            checkpoint.tokenizer()
            checkpoint.layer(0, "query")
        except (ModelPackageError, UnsupportedModelError):
            refused += 1
    assert refused > 100


def test_more_layers_than_tensors_are_refused_at_once(tiny: TinyLlama, tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match="too few tensors for 4000000000 layers"):
        GgufCheckpoint(tiny.write_gguf(tmp_path / "m.gguf", metadata={"llama.block_count": 4_000_000_000}))


def test_another_file_is_not_gguf(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(UnsupportedModelError, match="is not a GGUF file"):
        GgufCheckpoint(tmp_path / "m.gguf")
