"""How many prompt tokens may be read between two decode steps, judged by how long such things have taken so far.

Whoever streams an answer waits for a decode step and for the chunks of other people's prompts beside it. The budget
keeps the chunks to a few times a quiet decode step, whatever the model, the machine and the length of the prompt: the
cost of a token is learned while serving, since it grows with what the prompt has behind it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MIN_CHUNK = 4
"""Tokens of the first chunk of a step, even if they take longer than the budget: every prompt gets to its end."""

DECODE_STEPS_PER_CHUNK = 2.0
"""Chunks beside a decode step take as long as this many quiet ones: a pause of three steps instead of one, with luck."""

LEAST_FOR_FIXED_COST = 1.3
"""A chunk takes at least so many times its fixed cost (the weights, the past), which a step has to pay for anyway: a
quarter of the time is to be of use, however little the budget allows."""

ALONE_SECONDS = 0.4
"""Chunks while nobody decodes: long enough to be efficient, short enough for a cancel or another prompt to get through."""

_FIRST_CHUNK = 16
_WORTH_WHILE = 16
_TYPICAL_TOKENS = 100.0
_TYPICAL_PAIRS = 1e5
_TYPICAL_PAST = 1e3
# Seconds for the step itself, for a hundred tokens, for a hundred thousand pairs of a token and one that it looks back
# at, and for getting a past of a thousand tokens ready: those of a slow machine, because a first chunk that is too small
# does no harm.
_PRIOR = (0.01, 0.2, 0.05, 0.01)
_UNITS = (1.0, _TYPICAL_TOKENS, _TYPICAL_PAIRS, _TYPICAL_PAST)
_UNKNOWN = 5.0  # times: how far off a prior may be
_READYING = 20.0
"""Tokens whose looks at a past take as long as getting it ready does at most (measured: 18 with ONNX Runtime's CPU kernel)."""
_NOISE = 0.15
_DRIFT = 0.02


class ChunkCost:
    """Seconds to read n tokens after `past` others: a + b n + c n (past + n/2) + d past.

    A Kalman filter over the four numbers, which may drift; errors count relative to the prediction, so small chunks
    teach as much as large ones, and one outlier cannot move the estimate far.
    """

    def __init__(self) -> None:
        self._weights = np.array(_PRIOR)
        self._uncertainty = np.diag(self._weights**2)
        self._spread = _NOISE
        self.num_observed = 0

    @property
    def spread(self) -> float:
        """The usual relative error of a prediction."""
        return self._spread

    def predict(self, num_tokens: int, past: int) -> float:
        """Seconds."""
        return float(self._weights @ _features(num_tokens, past))

    def observe(self, num_tokens: int, past: int, seconds: float) -> None:
        """Learn from a chunk."""
        features = _features(num_tokens, past)
        if not self.num_observed:  # the first one sets the scale of all
            self._weights *= max(seconds, 1e-7) / float(self._weights @ features)
            self._uncertainty = np.diag((_UNKNOWN * self._weights) ** 2)
        predicted = max(float(self._weights @ features), 1e-7)
        error = max(seconds, 1e-7) - predicted
        if self.num_observed >= 4:
            self._spread += 0.1 * (min(abs(error) / predicted, 1.0) - self._spread)
            error = min(error, predicted)
        # One that is near zero now may be more later, so it drifts with the scale of the others.
        limits = np.maximum(self._weights, 0.1 * self._weights.max()) ** 2
        self._uncertainty[np.diag_indices(4)] += np.where(self._uncertainty.diagonal() < limits, _DRIFT**2 * limits, 0.0)
        gain = self._uncertainty @ features
        gain /= float(features @ gain) + (_NOISE * predicted) ** 2
        self._weights = self._weights + gain * error
        self._uncertainty -= np.outer(gain, features @ self._uncertainty)
        # Time cannot be negative. What such a number seemed to say of the others is void.
        is_void = self._weights < 0
        self._weights[is_void] = 0
        self._uncertainty[is_void, :] = self._uncertainty[:, is_void] = 0
        self._uncertainty[is_void, is_void] = limits[is_void]
        self._weights[2:] = _told_apart(num_tokens, past, *self._weights[2:])
        self.num_observed += 1

    def tokens_within(self, seconds: float, past: int) -> int:
        """The most tokens after `past` others that are predicted to take no longer; 0 if not even one."""
        step, token, pair, readying = self._weights / _UNITS
        left = seconds - step - readying * past
        if left <= 0:
            return 0
        # The positive root of pair/2 n² + (token + pair past) n = left, in the form that is stable for a tiny `pair`.
        linear = token + pair * past + 1e-12
        return int(2 * left / (linear + math.sqrt(linear**2 + 2 * pair * left)))


class DecodePace:
    """Seconds of a quiet decode step by the number of its rows; quick to believe a short step, slow to believe a long one."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def observe(self, num_rows: int, seconds: float) -> None:
        """Learn from a step."""
        known = self._seconds.get(num_rows)
        if known is None:
            self._seconds[num_rows] = seconds
        else:
            self._seconds[num_rows] = known + (min(seconds, 2 * known) - known) * (0.3 if seconds < known else 0.05)

    def seconds(self, num_rows: int) -> float | None:
        """A step of this many rows, or of the nearest number below that is known, which is not longer."""
        known = [rows for rows in self._seconds if rows <= num_rows]
        if known:
            return self._seconds[max(known)]
        larger = min(self._seconds, default=None)
        return None if larger is None else self._seconds[larger] * num_rows / larger


class PrefillBudget:
    """What chunks cost, what decode steps take, and what follows from both."""

    def __init__(self, largest_chunk: int) -> None:
        self.largest_chunk = largest_chunk
        self.cost = ChunkCost()
        self.pace = DecodePace()

    def seconds(self, num_decode_rows: int) -> float:
        """For all chunks of a step beside this many rows that decode."""
        if not num_decode_rows:
            return ALONE_SECONDS
        decode = self.pace.seconds(num_decode_rows)
        # Half of all chunks take longer than predicted; it is the slow ones that people notice.
        return 0.0 if decode is None else decode * DECODE_STEPS_PER_CHUNK / (1 + 2 * self.cost.spread)

    def chunk(self, seconds: float, past: int, rest: int, *, is_first: bool) -> int:
        """Tokens of the next chunk of a prompt that has `rest` left; 0: nothing worth while in this step, if not the first."""
        if is_first:
            seconds = max(seconds, LEAST_FOR_FIXED_COST * self.cost.predict(0, past))
        wanted = self.cost.tokens_within(seconds, past)
        if not self.cost.num_observed:
            wanted = min(wanted, _FIRST_CHUNK) if self.pace.seconds(1) is not None else wanted
        if not is_first and wanted < min(rest, _WORTH_WHILE):
            return 0
        return fitting_chunk(max(wanted, MIN_CHUNK), rest, self.largest_chunk)


def fitting_chunk(wanted: int, rest: int, largest: int) -> int:
    """A chunk of about `wanted` tokens which neither is a single token nor leaves one over, unless the prompt is one token.

    A lone token would be computed by the decode kernels, so its numbers would differ from a prompt computed in one
    piece. Large chunks come in few sizes, because the runtime keeps notes about every shape that it has seen.
    """
    chunk = min(wanted, rest, largest)
    if chunk < rest:
        chunk -= chunk % (16 if chunk > 64 else 4 if chunk > 16 else 1)
    chunk = max(chunk, min(2, rest))
    if rest - chunk == 1:
        chunk += 1 if chunk == 2 else -1
    return chunk


def _told_apart(num_tokens: int, past: int, pairs: float, past_alone: float) -> tuple[float, float]:
    """The same time for this chunk, of which getting the past ready takes no more than it can.

    Chunks that are all of one size do not tell the two apart; believing in a large fixed cost makes them larger still.
    """
    most = _READYING * _TYPICAL_PAST / _TYPICAL_PAIRS
    if past_alone <= most * pairs:
        return pairs, past_alone
    looks, readying = _features(num_tokens, past)[2:]
    pairs = (pairs * looks + past_alone * readying) / (looks + most * readying)
    return pairs, most * pairs


def _features(num_tokens: int, past: int) -> NDArray[np.float64]:
    return np.array((1.0, num_tokens, num_tokens * (past + num_tokens / 2), past)) / _UNITS
