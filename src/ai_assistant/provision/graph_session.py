"""Runs a graph once or twice for checking. Slow and simple on purpose; serving is the engine's business."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ai_assistant.engine.backends.environment import CPU_ENVIRONMENT
from ai_assistant.engine.model_package import Architecture
from ai_assistant.provision.half_rounding import is_half, load_graph, round_results

Logits = npt.NDArray[np.float32]
Cache = dict[str, npt.NDArray[np.floating[Any]]]
_ERRORS_ONLY = 3


class GraphSession:
    """One opened graph."""

    def __init__(self, graph: Path, architecture: Architecture) -> None:
        options: Any = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        # ORT counts the host's cores, a container may have fewer.
        options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        options.inter_op_num_threads = 1
        # Waiting threads give the processor to whoever else builds or serves here.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = load_graph(graph)
        self.is_half = is_half(model)
        if self.is_half:
            round_results(model)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(graph.parent))
        # The kernels that serve are the ones to measure.
        for name, value in CPU_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._session: Any = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._architecture = architecture
        self._cache_type = np.float16 if self.is_half else np.float32

    def logits(self, token_ids: list[int]) -> Logits:
        """Logits [tokens, vocabulary] after every token of one text."""
        logits, _ = self.run(np.array([token_ids], np.int64), self.empty_cache(1), past=0)
        return logits

    def logits_by_steps(self, token_ids: list[int]) -> Logits:
        """The same, read one token at a time as in decoding."""
        cache, steps = self.empty_cache(1), []
        for past, token_id in enumerate(token_ids):
            logits, cache = self.run(np.array([[token_id]], np.int64), cache, past=past)
            steps.append(logits)
        return np.concatenate(steps)

    def values(self, names: list[str], token_ids: list[int]) -> list[npt.NDArray[np.float32]]:
        """The named values, which the graph must give as outputs, for one text."""
        return list(self._session.run(names, _feeds(np.array([token_ids], np.int64), self.empty_cache(1), past=0)))

    def empty_cache(self, rows: int) -> Cache:
        shape = (rows, self._architecture.kv_heads, 0, self._architecture.head_size)
        parts = [f"past.{index}.{part}" for index in range(self._architecture.layers) for part in ("key", "value")]
        return {name: np.zeros(shape, self._cache_type) for name in parts}

    def run(self, token_ids: npt.NDArray[np.int64], cache: Cache, *, past: int) -> tuple[Logits, Cache]:
        """Feeds [rows, tokens] after `past` tokens; returns the logits of all of them and the grown cache."""
        names = [name.replace("past.", "present.") for name in cache]
        logits, *grown = self._session.run(["logits", *names], _feeds(token_ids, cache, past))
        return logits, dict(zip(cache, grown, strict=True))


def _feeds(token_ids: npt.NDArray[np.int64], cache: Cache, past: int) -> dict[str, npt.NDArray[Any]]:
    rows, tokens = token_ids.shape
    total = past + tokens
    return {
        "input_ids": token_ids,
        "seqlens_k": np.full(rows, total - 1, np.int32),
        "total_sequence_length": np.array(total, np.int32),
        "logits_indices": np.arange(rows * tokens, dtype=np.int64),
        **cache,
    }
