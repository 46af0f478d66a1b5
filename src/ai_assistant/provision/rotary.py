"""Rotary position embedding: the tables of a graph, and how each published kind of scaling changes the frequencies.

With theta the base and d the head size, frequency i of d/2 is theta^(-2i/d): how far a pair of numbers turns per token.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ai_assistant.engine.model_package import Architecture, RopeScaling

_Floats: TypeAlias = npt.NDArray[np.float64]


def rotation_tables(architecture: Architecture) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cosines and sines [max_positions, head_size / 2] of every position's angles."""
    frequencies, scale = _frequencies(architecture.rope_theta, architecture.head_size), 1.0
    if scaling := architecture.rope_scaling:
        frequencies, scale = frequencies / np.array(scaling.divisors), scaling.table_scale
    angles = np.arange(architecture.max_positions)[:, None] * frequencies[None]
    return (scale * np.cos(angles)).astype(np.float32), (scale * np.sin(angles)).astype(np.float32)


def linear_scaling(*, head_size: int, factor: float) -> RopeScaling:
    """Position interpolation: all frequencies are `factor` times lower."""
    return RopeScaling(kind="linear", divisors=(factor,) * (head_size // 2))


def llama3_scaling(
    *,
    head_size: int,
    theta: float,
    factor: float,
    low_frequency_factor: float,
    high_frequency_factor: float,
    original_positions: int,
) -> RopeScaling:
    """Llama 3.1: only what turns slowly over the original context is scaled, with a ramp up to what turns fast."""
    turns = original_positions * _frequencies(theta, head_size) / (2 * math.pi)
    fast = np.clip((turns - low_frequency_factor) / (high_frequency_factor - low_frequency_factor), 0, 1)
    return RopeScaling(kind="llama3", divisors=_divisors(fast, factor))


def yarn_scaling(
    *,
    head_size: int,
    theta: float,
    factor: float,
    original_positions: int,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
    table_scale: float | None = None,
) -> RopeScaling:
    """YaRN: as Llama 3.1's, with a ramp over the index of a frequency, and queries and keys a little longer.

    `table_scale` replaces the scale of the paper, 0.1 ln(factor) + 1.
    """

    def index_of(turns: float) -> float:
        """The (fractional) index of the frequency that turns so often over the original context."""
        return head_size * math.log(original_positions / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = index_of(beta_fast), index_of(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_size - 1)
    # The ramp must not be a step: the published code widens it by the same thousandth.
    slow = np.clip((np.arange(head_size // 2) - low) / max(high - low, 0.001), 0, 1)
    if table_scale is None:
        table_scale = 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
    return RopeScaling(kind="yarn", divisors=_divisors(1 - slow, factor), table_scale=table_scale)


def _frequencies(theta: float, head_size: int) -> _Floats:
    return np.asarray(theta ** (-np.arange(0, head_size, 2, dtype=np.float64) / head_size))


def _divisors(unscaled: _Floats, factor: float) -> tuple[float, ...]:
    """What frequencies are divided by that keep the part `unscaled` of themselves, and the rest `factor` times lower."""
    return tuple(float(divisor) for divisor in 1 / (unscaled + (1 - unscaled) / factor))
