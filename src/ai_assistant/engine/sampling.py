"""How the next token of a sequence is chosen: the parameters, and the random number that a token index gets."""

from __future__ import annotations

import math
from dataclasses import dataclass

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """What a request asks for. Penalties and limits count from token ids alone, so a continued answer is the undisturbed one."""

    max_tokens: int
    temperature: float = 0.7  # 0: always the likeliest token
    top_p: float = 1.0
    top_k: int = 0  # 0: off
    min_p: float = 0.0
    seed: int = 0
    presence_penalty: float = 0.0  # counted over the answer, like OpenAI's
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0  # counted over prompt and answer; 1: off
    stop_token_ids: tuple[int, ...] = ()  # besides the model's own
    ignore_eos: bool = False
    logprobs: int | None = None  # k: also report the chosen token's log probability and the k best

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number.")
        _check(self.max_tokens >= 1, "max_tokens must be at least 1.")
        _check(self.temperature >= 0, "temperature must not be negative.")
        _check(0 < self.top_p <= 1, "top_p must be above 0 and at most 1.")
        _check(self.top_k >= 0, "top_k must not be negative.")
        _check(0 <= self.min_p <= 1, "min_p must be between 0 and 1.")
        _check(-2 <= self.presence_penalty <= 2, "presence_penalty must be between -2 and 2.")
        _check(-2 <= self.frequency_penalty <= 2, "frequency_penalty must be between -2 and 2.")
        _check(0.01 <= self.repetition_penalty <= 100, "repetition_penalty must be between 0.01 and 100.")
        _check(self.logprobs is None or self.logprobs >= 0, "logprobs must not be negative.")

    @property
    def has_penalties(self) -> bool:
        return self.presence_penalty != 0 or self.frequency_penalty != 0 or self.repetition_penalty != 1


def random_number(seed: int, index: int) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the token's index in the answer.

    There is no generator whose state a successor would have to restore: a crashed answer goes on with the numbers it
    would have had.
    """
    return (_splitmix64(_splitmix64(seed) ^ index) >> 11) * 2.0**-53


def _splitmix64(value: int) -> int:
    """Steele, Lea and Flood's mixing function: a bijection of 64 bits in which every input bit reaches every output bit."""
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _check(is_valid: bool, sentence: str) -> None:
    if not is_valid:
        raise ValueError(sentence)
