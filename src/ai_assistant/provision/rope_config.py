"""Reads the rotations' part of `config.json`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from ai_assistant.engine.model_package import RopeScaling
from ai_assistant.errors import ModelPackageError
from ai_assistant.provision.checkpoint_json import CONFIG_FILE, Count, Positive, Section, unsupported, validated
from ai_assistant.provision.rotary import linear_scaling, llama3_scaling, yarn_scaling

_DEFAULT_THETA = 10000.0


@dataclass(frozen=True)
class Rotation:
    """The base of the frequencies, their scaling, and how many positions the model takes."""

    theta: float
    scaling: RopeScaling | None
    positions: int


class _Scaling(Section):
    model_config = ConfigDict(extra="forbid")


class _Linear(_Scaling):
    factor: Positive


class _Llama3(_Scaling):
    factor: Positive
    low_freq_factor: Positive
    high_freq_factor: Positive
    original_max_position_embeddings: Count


class _Yarn(_Scaling):
    factor: Positive
    original_max_position_embeddings: Count | None = None
    attention_factor: Positive | None = None
    beta_fast: Positive | None = None
    beta_slow: Positive | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True


def read_rotation(scaling: dict[str, Any] | None, *, theta: float | None, positions: int, head_size: int) -> Rotation:
    """Understands `rope_scaling`, or the `rope_parameters` that transformers 5 writes, which hold the base too."""
    options = dict(scaling or {})
    theta = _theta(options.pop("rope_theta", theta or _DEFAULT_THETA))
    kinds = [options.pop(key) for key in ("rope_type", "type") if key in options]
    kind = kinds[0] if kinds else None if options else "default"
    if options.pop("partial_rotary_factor", 1) != 1:
        raise unsupported("partial_rotary_factor")
    match kind:
        case "default" if not options:
            return Rotation(theta, None, positions)
        case "linear":
            factor = validated(_Linear, options).factor
            return Rotation(theta, linear_scaling(head_size=head_size, factor=factor), positions)
        case "llama3":
            return Rotation(theta, _llama3(validated(_Llama3, options), head_size, theta), positions)
        case "yarn":
            yarn = validated(_Yarn, options)
            original = yarn.original_max_position_embeddings or positions
            # People add YaRN to a config.json as its authors say, and leave the number of positions at the original.
            positions = max(positions, int(original * yarn.factor)) if yarn.original_max_position_embeddings else positions
            return Rotation(theta, _yarn(yarn, head_size, theta, original), positions)
        case _:
            raise unsupported(f"rope scaling of the kind {kind or sorted(options)} (linear, llama3 and yarn are)")


def _theta(value: Any) -> float:
    if type(value) not in {int, float} or not 1 < value < 1e12:
        raise ModelPackageError(f"The rope_theta {value!r} in {CONFIG_FILE} makes no sense.")
    return float(value)


def _llama3(options: _Llama3, head_size: int, theta: float) -> RopeScaling:
    if not options.low_freq_factor < options.high_freq_factor:
        raise ModelPackageError(f"In {CONFIG_FILE}, low_freq_factor must be below high_freq_factor.")
    return llama3_scaling(
        head_size=head_size,
        theta=theta,
        factor=options.factor,
        low_frequency_factor=options.low_freq_factor,
        high_frequency_factor=options.high_freq_factor,
        original_positions=options.original_max_position_embeddings,
    )


def _yarn(options: _Yarn, head_size: int, theta: float, original_positions: int) -> RopeScaling:
    table_scale = options.attention_factor
    if table_scale is None and options.mscale and options.mscale_all_dim and options.factor > 1:
        growth = 0.1 * math.log(options.factor)
        table_scale = (growth * options.mscale + 1) / (growth * options.mscale_all_dim + 1)
    return yarn_scaling(
        head_size=head_size,
        theta=theta,
        factor=options.factor,
        original_positions=original_positions,
        beta_fast=options.beta_fast or 32.0,
        beta_slow=options.beta_slow or 1.0,
        truncate=options.truncate,
        table_scale=table_scale,
    )
