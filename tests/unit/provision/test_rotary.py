"""Rotations: what the tables must be, from the formulas in the papers and from geometry."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader

from ai_assistant.engine.model_package import Architecture, RopeScaling
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint
from ai_assistant.provision.rotary import linear_scaling, llama3_scaling, rotation_tables, yarn_scaling
from unit.provision.tiny_llama import HEAD, HEADS, THETA, TinyLlama

LLAMA_31: dict[str, Any] = {
    "head_size": 128,
    "theta": 500000.0,
    "factor": 8.0,
    "low_frequency_factor": 1.0,
    "high_frequency_factor": 4.0,
    "original_positions": 8192,
}


def architecture(*, head_size: int = 128, theta: float = 10000.0, scaling: RopeScaling | None = None) -> Architecture:
    return Architecture(
        family="llama",
        layers=1,
        hidden_size=64,
        heads=1,
        kv_heads=1,
        head_size=head_size,
        intermediate_size=64,
        vocab_size=8,
        max_positions=300,
        rope_theta=theta,
        rms_norm_eps=1e-5,
        rope_scaling=scaling,
    )


def test_a_pair_turns_by_its_frequency_per_token() -> None:
    cos, sin = rotation_tables(architecture())
    assert cos.shape == sin.shape == (300, 64)
    assert cos.dtype == sin.dtype == np.float32
    for position, pair in ((0, 0), (1, 0), (17, 5), (299, 63)):
        angle = position / 10000 ** (2 * pair / 128)
        assert cos[position, pair] == pytest.approx(math.cos(angle), abs=1e-6)
        assert sin[position, pair] == pytest.approx(math.sin(angle), abs=1e-6)


def test_linear_scaling_reads_every_position_as_a_nearer_one() -> None:
    plain = rotation_tables(architecture())
    stretched = rotation_tables(architecture(scaling=linear_scaling(head_size=128, factor=4.0)))
    for ours, theirs in zip(stretched, plain, strict=True):
        np.testing.assert_allclose(ours[::4], theirs[:75], atol=1e-6)


def test_llama_3_scales_only_what_turns_slowly() -> None:
    divisors = np.array(llama3_scaling(**LLAMA_31).divisors)
    # Wavelengths below 8192 / 4 tokens stay, those above 8192 / 1 are eight times as long.
    assert (divisors[:29] == 1).all()
    assert (divisors[35:] == 8).all()
    assert (np.diff(divisors[28:36]) > 0).all()


def test_llama_3_ramps_as_its_authors_wrote() -> None:
    for index, divisor in enumerate(llama3_scaling(**LLAMA_31).divisors):
        frequency = 500000.0 ** (-2 * index / 128)
        wavelength = 2 * math.pi / frequency
        if wavelength < 8192 / 4:
            expected = frequency
        elif wavelength > 8192 / 1:
            expected = frequency / 8
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            expected = (1 - smooth) * frequency / 8 + smooth * frequency
        assert frequency / divisor == pytest.approx(expected, rel=1e-12)


def test_yarn_keeps_fast_pairs_interpolates_slow_ones_and_lengthens_all() -> None:
    scaling = yarn_scaling(head_size=128, theta=1_000_000.0, factor=4.0, original_positions=32768)
    turns = 32768 * 1_000_000.0 ** (-np.arange(64) / 64) / (2 * math.pi)
    divisors = np.array(scaling.divisors)
    assert (divisors[turns > 40] == 1).all()
    np.testing.assert_allclose(divisors[turns < 0.7], 4)
    assert (np.diff(divisors) >= 0).all()
    # The paper: the length of keys and queries grows by 0.1 ln(s) + 1.
    assert scaling.table_scale == pytest.approx(0.1 * math.log(4) + 1)
    cos, sin = rotation_tables(architecture(scaling=scaling))
    np.testing.assert_allclose(np.hypot(cos, sin), scaling.table_scale, rtol=1e-6)


def test_a_factor_of_one_changes_nothing() -> None:
    plain = rotation_tables(architecture())
    for scaling in (
        linear_scaling(head_size=128, factor=1.0),
        llama3_scaling(**LLAMA_31 | {"factor": 1.0}),
        yarn_scaling(head_size=128, theta=10000.0, factor=1.0, original_positions=300),
    ):
        np.testing.assert_array_equal(rotation_tables(architecture(scaling=scaling)), plain)


def rotated(x: np.ndarray[Any, Any], position: int, *, is_interleaved: bool) -> np.ndarray[Any, Any]:
    """Turns the pairs of one head: neighbours, or numbers half a head apart."""
    pairs = x.reshape(HEAD // 2, 2) if is_interleaved else x.reshape(2, HEAD // 2).T
    angles = position * THETA ** (-np.arange(0, HEAD, 2) / HEAD)
    first = pairs[:, 0] * np.cos(angles) - pairs[:, 1] * np.sin(angles)
    second = pairs[:, 0] * np.sin(angles) + pairs[:, 1] * np.cos(angles)
    turned = np.stack([first, second], axis=1)
    return turned.reshape(-1) if is_interleaved else turned.T.reshape(-1)


@pytest.mark.parametrize("seed", range(5))
def test_both_orders_of_a_head_mean_the_same_attention(tmp_path: Path, seed: int) -> None:
    """GGUF keeps pairs side by side; read into halves, every query finds every key as strongly as before."""
    tiny, random = TinyLlama(seed=seed), np.random.default_rng(seed)
    path = tiny.write_gguf(tmp_path / "m.gguf")
    stored = {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}
    checkpoint = GgufCheckpoint(path)
    asking, asked = random.standard_normal((2, stored["blk.0.attn_q.weight"].shape[1]))
    places = random.integers(0, 500, 2)

    def score(query: np.ndarray[Any, Any], key: np.ndarray[Any, Any], *, is_interleaved: bool) -> float:
        turned = (
            rotated((weight @ rows)[:HEAD], place, is_interleaved=is_interleaved)
            for weight, rows, place in zip((query, key), (asking, asked), places, strict=True)
        )
        return float(np.dot(*turned))

    assert stored["blk.0.attn_q.weight"].shape[0] == HEADS * HEAD
    before = score(stored["blk.0.attn_q.weight"], stored["blk.0.attn_k.weight"], is_interleaved=True)
    after = score(checkpoint.layer(0, "query"), checkpoint.layer(0, "key"), is_interleaved=False)
    assert after == pytest.approx(before, rel=1e-4)
    assert score(checkpoint.layer(0, "query"), checkpoint.layer(0, "key"), is_interleaved=True) != pytest.approx(before, rel=1e-2)
