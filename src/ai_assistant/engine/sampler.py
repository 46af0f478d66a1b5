"""From logits to tokens.

Log probabilities are those of the model itself, before temperature and penalties. All sums are over float64 in a fixed
order, so equal logits give equal tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as List
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_assistant.engine.model_runner import Logits
from ai_assistant.engine.sampling import SamplingParams, random_number
from ai_assistant.engine.sequence import Sequence

_Floats = NDArray[np.float64]
_Ids = NDArray[np.intp]
_BLOCK = 1024


class Sampled(NamedTuple):
    """A chosen token."""

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


def sample(logits: Logits, sequences: List[Sequence], rows: List[int]) -> list[Sampled]:
    """Choose the next token for these rows of `logits`, which belong to `sequences`."""
    likeliest = logits.argmax(axis=1)  # the lowest id of equals
    return [_sample_row(logits[row], int(likeliest[row]), sequences[row]) for row in rows]


def _sample_row(row: Logits, likeliest: int, sequence: Sequence) -> Sampled:
    params = sequence.sampling
    scores = row
    if params.has_penalties:
        scores = _penalised(row, sequence)
        likeliest = int(scores.argmax())
    if params.temperature == 0:
        token_id = likeliest
    else:
        shifted = scores.astype(np.float64) - float(scores[likeliest])
        with np.errstate(over="ignore"):  # a tiny temperature makes minus infinity of them, which is what is meant
            shifted /= params.temperature
        token_id = _draw(shifted, params, random_number(params.seed, len(sequence.completion_ids)))
    if params.logprobs is None:
        return Sampled(token_id)
    return _with_logprobs(row, token_id, params.logprobs)


def _penalised(row: Logits, sequence: Sequence) -> Logits:
    params, counts = sequence.sampling, sequence.token_counts
    scores = row.copy()
    if params.repetition_penalty != 1:
        seen = counts.seen_ids
        values = scores[seen]
        scores[seen] = np.where(values > 0, values / params.repetition_penalty, values * params.repetition_penalty)
    answered, number = counts.answered
    if answered.size:
        scores[answered] -= (params.presence_penalty + params.frequency_penalty * number).astype(np.float32)
    return scores


def _draw(scores: _Floats, params: SamplingParams, number: float) -> int:
    """Invert the distribution function at `number`; the highest of `scores` is 0."""
    ids: _Ids | None = None
    if 0 < params.top_k < scores.size:
        ids = _best(scores, params.top_k)
        scores = scores[ids]
    weights = np.exp(scores)
    if params.top_p < 1:
        kept = _nucleus(weights, params.top_p)
        ids, weights = kept if ids is None else ids[kept], weights[kept]
    if params.min_p > 0:
        kept = np.flatnonzero(weights >= params.min_p)  # the highest weight is 1
        ids, weights = kept if ids is None else ids[kept], weights[kept]
    index = _invert(weights, number)
    return index if ids is None else int(ids[index])


def _invert(weights: _Floats, number: float) -> int:
    """The position at which the running sum of `weights` passes `number` of their total.

    Whole blocks are added first: a running sum over a whole vocabulary costs more than everything else in a draw.
    """
    blocks = np.cumsum(np.add.reduceat(weights, np.arange(0, weights.size, _BLOCK)))
    target = number * float(blocks[-1])
    block = int(np.searchsorted(blocks, target, side="right"))
    rest = target - (float(blocks[block - 1]) if block else 0.0)
    inside = weights[block * _BLOCK : (block + 1) * _BLOCK]
    # Both sums may round differently at a block's end; the last position takes what is left over.
    return block * _BLOCK + min(int(np.searchsorted(np.cumsum(inside), rest, side="right")), inside.size - 1)


def _best(scores: NDArray[np.floating], count: int) -> _Ids:
    """The ids of the `count` highest scores, highest first, lower ids first among equals."""
    threshold = np.partition(scores, scores.size - count)[scores.size - count]
    ids = np.flatnonzero(scores >= threshold)
    return ids[np.argsort(-scores[ids], kind="stable")][:count]


def _nucleus(weights: _Floats, top_p: float) -> _Ids:
    """The positions of the fewest highest weights that together reach `top_p` of all, highest first."""
    total = float(weights.sum())
    # Sorting is what costs, and a few likely tokens are mostly enough. Weights below the last floor, all of them
    # together, are less than what may be left out.
    for floor in (1e-2, 1e-4, (1 - top_p) * total / weights.size):
        ids = np.flatnonzero(weights >= floor)
        ids = ids[np.argsort(-weights[ids], kind="stable")]
        count = int(np.searchsorted(np.cumsum(weights[ids]), top_p * total, side="left")) + 1
        if count <= ids.size:
            break
    return ids[:count]


def _with_logprobs(row: Logits, token_id: int, count: int) -> Sampled:
    scores = row.astype(np.float64)
    peak = float(scores.max())
    log_total = peak + math.log(float(np.exp(scores - peak).sum()))
    best = _best(scores, min(count, scores.size)) if count else np.empty(0, dtype=np.intp)
    return Sampled(token_id, float(scores[token_id]) - log_total, tuple((int(i), float(scores[i]) - log_total) for i in best))
