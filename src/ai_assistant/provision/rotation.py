"""Turns a decoder's hidden space, so that 8 bits per number are enough.

A decoder computes the same in any orthonormal basis of its hidden space, as long as everything that reads or writes the
residual stream agrees on it and the norms have no weights of their own (these go into the matrices behind them). Trained
models keep huge numbers in a few channels; in a basis that mixes all channels no channel stands out. The idea is QuaRot's
(Ashkboos et al., 2024). Channels inside an MLP pass a non-linearity and cannot be mixed, but can be scaled: what `up` writes
smaller, `down` reads larger (SmoothQuant, Xiao et al., 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ai_assistant.provision.checkpoint import Checkpoint, Weights
from ai_assistant.provision.checkpoint_view import CheckpointView

# Rows turned at once: the embedding of a large model is gigabytes, and the result needs as much again.
_ROWS = 16384


def orthogonal(size: int) -> Weights:
    """An orthogonal matrix [size, size] that spreads every axis over all others as evenly as it gets.

    A Hadamard matrix for the power of two in `size`, a discrete cosine transform for the odd rest.
    """
    odd = size
    while odd % 2 == 0:
        odd //= 2
    steps = np.arange(odd)
    matrix = np.cos(np.pi * (2 * steps[None] + 1) * steps[:, None] / (2 * odd))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]]) / np.sqrt(2)
    # Random signs keep what neighbouring channels have in common from adding up in one place.
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size)
    return np.asarray(matrix * signs[:, None], np.float32)


class RotatedCheckpoint(CheckpointView):
    """A checkpoint in a turned hidden space, with norms of weight one.

    `inner_scales` [layers][intermediate size]: what the inner channels of each MLP are divided by; None leaves them.
    """

    def __init__(self, checkpoint: Checkpoint, inner_scales: Sequence[Weights] | None = None) -> None:
        super().__init__(checkpoint)
        self._scales = inner_scales
        shape = self.architecture
        self._hidden = orthogonal(shape.hidden_size)
        self._head = orthogonal(shape.head_size)
        self._ones = np.ones(shape.hidden_size, np.float32)

    def embedding(self) -> Weights:
        return self._turned(super().embedding())

    def output_norm(self) -> Weights:
        return self._ones

    def lm_head(self) -> Weights:
        return self._turned(super().lm_head(), super().output_norm())

    def layer(self, index: int, weight: str) -> Weights:
        match weight:
            case "attention_norm" | "mlp_norm":
                return self._ones
            case "query" | "key":
                return self._read(index, weight, "attention_norm")
            case "value":
                return self._per_head(self._read(index, weight, "attention_norm"))
            case "gate":
                return self._read(index, weight, "mlp_norm")
            case "up":
                values = self._read(index, weight, "mlp_norm")
                return values / self._scales[index][:, None] if self._scales else values
            case "attention_output":
                written = self._hidden.T @ super().layer(index, weight)
                return self._per_head(written.T).T
            case "down":
                written = self._hidden.T @ super().layer(index, weight)
                return written * self._scales[index] if self._scales else written
        raise AssertionError(weight)

    def optional_layer(self, index: int, weight: str) -> Weights | None:
        bias = super().optional_layer(index, weight)
        if bias is None:
            return None
        match weight:
            case "value_bias":
                return self._per_head(bias[:, None])[:, 0]
            case "up_bias":
                return bias / self._scales[index] if self._scales else bias
            case "attention_output_bias" | "down_bias":
                return np.asarray(self._hidden.T @ bias)
        return bias

    def _read(self, index: int, weight: str, norm: str) -> Weights:
        return self._turned(super().layer(index, weight), super().layer(index, norm))

    def _turned(self, matrix: Weights, norm: Weights | None = None) -> Weights:
        """A matrix [outputs, hidden] that reads the stream, with the norm's weight before it."""
        turn = self._hidden if norm is None else norm[:, None] * self._hidden
        result = np.empty_like(matrix)
        for start in range(0, len(matrix), _ROWS):
            np.matmul(matrix[start : start + _ROWS], turn, out=result[start : start + _ROWS])
        return result

    def _per_head(self, rows: Weights) -> Weights:
        """Turns the rows [heads * head size, columns] of every head: the values' channels, and what reads them."""
        heads = rows.reshape(-1, self.architecture.head_size, rows.shape[1])
        return np.asarray(np.matmul(self._head.T, heads).reshape(rows.shape))
