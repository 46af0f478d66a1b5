"""What a short text shows about a model's activations, for the sake of quantising them.

Only the inner activations of the MLPs need it: what comes out of a norm has unit mean square by construction, and what the
attention gives is an average of values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from ai_assistant.engine.model_package import GRAPH_FILE, Architecture
from ai_assistant.provision.checkpoint import Checkpoint, Weights
from ai_assistant.provision.graph import inner_activation
from ai_assistant.provision.graph_session import GraphSession
from ai_assistant.provision.rotation import RotatedCheckpoint

# The precisions that need to know a model's activations.
CALIBRATED = frozenset({"int8"})

_CALIBRATION_GRAPH = "calibration.onnx"
# How far a channel's size is moved from the activation into the weight. Of 0.4, 0.45, 0.5 and 0.6 of SmolLM2, with root mean
# squares or maxima, this gave the smallest divergence.
_SHARE = 0.45
_SMALLEST = 1e-5
# One layer in ten keeps exact activations before its `down`; a handful of layers hold the huge numbers of a whole model.
_LAYERS_PER_EXEMPTION = 10


@dataclass(frozen=True)
class Calibration:
    """`inner_scales` [layers][intermediate size] to divide inner channels by, and the layers that rounding hurts most."""

    inner_scales: tuple[Weights, ...]
    delicate_layers: frozenset[int]

    def applied(self, checkpoint: Checkpoint) -> RotatedCheckpoint:
        """The checkpoint as it is to be quantised."""
        return RotatedCheckpoint(checkpoint, self.inner_scales)


def calibrate(checkpoint: Checkpoint, reference: Path, texts: list[list[int]]) -> Calibration:
    """Reads `texts` (token ids) with the fp32 graph in the folder `reference`."""
    shape = checkpoint.architecture
    session = _session_with_inner_activations(reference, shape)
    squares = [np.zeros(shape.intermediate_size) for _ in range(shape.layers)]
    for layer, rows in _inner_activations(session, shape, texts):
        squares[layer] += np.square(rows, dtype=np.float64).sum(axis=0)
    count = sum(map(len, texts))
    scales = tuple(
        _inner_scales(np.sqrt(total / count).astype(np.float32), checkpoint.layer(layer, "down"))
        for layer, total in enumerate(squares)
    )
    noise = np.zeros(shape.layers)
    for layer, rows in _inner_activations(session, shape, texts):
        scaled = rows / scales[layer]
        # A row is rounded in steps of its largest number, and what matters is the step beside what is usual in the layer.
        noise[layer] += np.square(np.abs(scaled).max(axis=1)).sum() / np.square(scaled).mean()
    delicate = np.argsort(-noise)[: -(-shape.layers // _LAYERS_PER_EXEMPTION)]
    return Calibration(scales, frozenset(int(layer) for layer in delicate))


def _inner_scales(size: Weights, down: Weights) -> Weights:
    weight = np.abs(down).max(axis=0)
    scales = np.maximum(size, _SMALLEST) ** _SHARE / np.maximum(weight, _SMALLEST) ** (1 - _SHARE)
    return np.asarray(scales / np.exp(np.log(scales).mean()), np.float32)


def _session_with_inner_activations(reference: Path, shape: Architecture) -> GraphSession:
    model = onnx.load(reference / GRAPH_FILE, load_external_data=False)
    for layer in range(shape.layers):
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(inner_activation(layer)))
    path = reference / _CALIBRATION_GRAPH
    onnx.save(model, path)
    return GraphSession(path, shape)


def _inner_activations(
    session: GraphSession, shape: Architecture, texts: list[list[int]]
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    names = [inner_activation(layer) for layer in range(shape.layers)]
    for text in texts:
        yield from enumerate(session.values(names, text))
