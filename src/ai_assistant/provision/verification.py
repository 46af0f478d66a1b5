"""Decides whether a freshly written graph may be published: it must answer at all, and be close enough to its fp32 reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ai_assistant.engine.model_package import GRAPH_FILE, TOKENIZER_FILE, Accuracy, Architecture
from ai_assistant.errors import ModelPackageError
from ai_assistant.provision.graph_session import GraphSession, Logits
from ai_assistant.provision.passages import PASSAGES

# Top-1 agreement and mean Kullback-Leibler divergence that a precision must keep against fp32.
THRESHOLDS: dict[str, tuple[float, float]] = {"fp32": (0.999, 0.001), "int8": (0.93, 0.02), "fp16": (0.99, 0.001)}

_PROMPT = "The capital of France is"
_ANSWER_TOKENS = 8
# fp32 sums in another order differ by some 1e-4; a wrong graph by whole units.
_SAME_LOGIT = 1e-2


def check_answers(folder: Path, architecture: Architecture, *, is_exact: bool) -> None:
    """Loads the package's graph and lets it continue a prompt greedily; raises ModelPackageError where that makes no sense."""
    session = open_graph(folder, architecture)
    prompt = _encode(_tokenizer(folder), _PROMPT, architecture)
    cache, ids, logits = session.empty_cache(1), list(prompt), np.empty((0, 0), np.float32)
    fed = 0
    for _ in range(_ANSWER_TOKENS):
        pending = np.array([ids[fed:]], np.int64)
        logits, cache = session.run(pending, cache, past=fed)
        if not np.isfinite(logits).all():
            raise ModelPackageError("The written graph does not compute: its logits are not finite.")
        fed = len(ids)
        if fed == architecture.max_positions:
            break
        ids.append(int(logits[-1].argmax()))
    if is_exact:
        # The same tokens at once instead of one by one: the cache and the rotation must agree.
        at_once = session.logits(ids[:fed])
        if np.abs(at_once[-1] - logits[-1]).max() > _SAME_LOGIT * max(1.0, float(np.abs(logits[-1]).max())):
            raise ModelPackageError("The written graph does not compute: it answers otherwise from its cache than without.")


def measure_accuracy(folder: Path, reference: Path, architecture: Architecture, precision: str) -> Accuracy:
    """Compares the graph in `folder` with the fp32 graph in `reference` over the built-in passages."""
    tokenizer = _tokenizer(folder)
    texts = [_encode(tokenizer, passage, architecture) for passage in PASSAGES]
    # One graph at a time is open: together they may not fit into memory.
    session = open_graph(reference, architecture)
    expected = [session.logits(ids) for ids in texts]
    session = open_graph(folder, architecture)
    agreements, divergences = [], []
    for ids, reference_logits in zip(texts, expected, strict=True):
        logits = session.logits(ids)
        agreements.append(logits.argmax(axis=-1) == reference_logits.argmax(axis=-1))
        divergences.append(_divergence(reference_logits, logits))
    min_top1, max_mean_kl = THRESHOLDS[precision]
    return Accuracy(
        tokens=sum(map(len, texts)),
        top1=round(float(np.concatenate(agreements).mean()), 5),
        mean_kl=round(float(np.concatenate(divergences).mean()), 6),
        min_top1=min_top1,
        max_mean_kl=max_mean_kl,
    )


def open_graph(folder: Path, architecture: Architecture) -> GraphSession:
    """Opens the graph; what ONNX Runtime refuses to load is a broken package."""
    try:
        return GraphSession(folder / GRAPH_FILE, architecture)
    except Exception as error:  # its exceptions have no common class but this one
        raise ModelPackageError(f"ONNX Runtime cannot load the written graph: {error}") from error


def _tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / TOKENIZER_FILE))


def _encode(tokenizer: Tokenizer, text: str, architecture: Architecture) -> list[int]:
    ids: list[int] = tokenizer.encode(text).ids[: architecture.max_positions]
    if not ids:
        raise ModelPackageError("The model's tokenizer knows none of the letters of plain English text.")
    return ids


def _divergence(expected: Logits, actual: Logits) -> npt.NDArray[np.float64]:
    log_p, log_q = _log_softmax(expected), _log_softmax(actual)
    return np.asarray((np.exp(log_p) * (log_p - log_q)).sum(axis=-1))


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
