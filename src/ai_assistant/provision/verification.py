"""Decides whether a freshly written graph may be published: it must answer at all, and be close enough to its fp32 reference."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ai_assistant.engine.model_package import GRAPH_FILE, TOKENIZER_FILE, Accuracy, Architecture
from ai_assistant.errors import ModelPackageError
from ai_assistant.provision.graph_session import GraphSession, Logits
from ai_assistant.provision.passages import PASSAGES

# Top-1 agreement and mean Kullback-Leibler divergence that a precision must keep against fp32.
THRESHOLDS: dict[str, tuple[float, float]] = {
    "fp32": (0.999, 0.001),
    "fp16": (0.99, 0.001),
    "int8-weights": (0.95, 0.01),
    "int8": (0.93, 0.02),
    "int4": (0.90, 0.1),
}

# Above it the perplexity is e^100.
_LOST = 100.0
_ROWS = 16
_LOGIT_BYTES = 4
_BATCHES = (1, 2, 3, 8, 16)
_CHECKED_TOKENS = 24

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
            hint = " They may leave fp16's range; build it for the CPU, in int8 or fp32." if session.is_half else ""
            raise ModelPackageError(f"The written graph does not compute: its logits are not finite.{hint}")
        fed = len(ids)
        if fed == architecture.max_positions:
            break
        ids.append(int(logits[-1].argmax()))
    if is_exact:
        # The same tokens at once instead of one by one: the cache and the rotation must agree.
        at_once = session.logits(ids[:fed])
        if np.abs(at_once[-1] - logits[-1]).max() > _SAME_LOGIT * max(1.0, float(np.abs(logits[-1]).max())):
            raise ModelPackageError("The written graph does not compute: it answers otherwise from its cache than without.")


def check_rows(folder: Path, architecture: Architecture, *, multiple: int) -> None:
    """A row's numbers must be the same, bit by bit, whoever shares its batch; raises ModelPackageError where they are not.

    `multiple`: batches are filled up to a multiple of this many rows.
    """
    session = open_graph(folder, architecture)
    text = _encode(_tokenizer(folder), PASSAGES[0], architecture)[:_CHECKED_TOKENS]
    _, cache = session.run(np.array([text[:-1]], np.int64), session.empty_cache(1), past=0)
    largest = max(_BATCHES)
    ids = (np.array([text[-1]]) + np.arange(largest)) % architecture.vocab_size
    shared = {name: np.repeat(values, largest, axis=0) for name, values in cache.items()}
    expected, _ = session.run(ids[:, None], shared, past=len(text) - 1)
    for rows in {-(-count // multiple) * multiple for count in _BATCHES}:
        part = {name: values[:rows] for name, values in shared.items()}
        logits, _ = session.run(ids[:rows, None], part, past=len(text) - 1)
        if not np.array_equal(logits, expected[:rows]):
            raise ModelPackageError(f"The written graph does not compute: in a batch of {rows} rows a row's numbers are others.")


def measure_accuracy(
    folder: Path, reference: Path, architecture: Architecture, precision: str, *, token_by_token: bool = False
) -> Accuracy:
    """Compares the graph in `folder` with the fp32 graph in `reference` over the built-in passages.

    `token_by_token`: read as an answer is generated, one token a step, instead of at once as a prompt is. The reference's
    logits wait in its folder (`logits_bytes`): those of a large vocabulary do not fit into memory.
    """
    texts = encoded(folder, PASSAGES, architecture)
    # One graph at a time is open: together they may not fit into memory.
    session = open_graph(reference, architecture)
    for index, ids in enumerate(texts):
        np.save(reference / f"logits.{index}.npy", session.logits(ids))
    del session
    session = open_graph(folder, architecture)
    agreements, divergences, surprises, expected_surprises = [], [], [], []
    for index, ids in enumerate(texts):
        logits = session.logits_by_steps(ids) if token_by_token else session.logits(ids)
        expected = np.load(reference / f"logits.{index}.npy", mmap_mode="r")
        agreements.append(logits.argmax(axis=-1) == expected.argmax(axis=-1))
        # Few rows at a time: in fp64 a row of a large vocabulary is a megabyte, several times over.
        for start in range(0, len(ids), _ROWS):
            rows = slice(start, start + _ROWS)
            log_p, log_q = _log_softmax(expected[rows]), _log_softmax(logits[rows])
            divergences.append((np.exp(log_p) * (log_p - log_q)).sum(axis=-1))
            following = np.array(ids[start + 1 : start + 1 + _ROWS])
            places = np.arange(len(following)), following
            surprises.append(-log_q[places])
            expected_surprises.append(-log_p[places])
    min_top1, max_mean_kl = THRESHOLDS[precision]
    return Accuracy(
        tokens=sum(map(len, texts)),
        top1=round(float(np.concatenate(agreements).mean()), 5),
        mean_kl=round(float(np.concatenate(divergences).mean()), 6),
        perplexity=_perplexity(surprises),
        reference_perplexity=_perplexity(expected_surprises),
        min_top1=min_top1,
        max_mean_kl=max_mean_kl,
    )


def logits_bytes(folder: Path, architecture: Architecture) -> int:
    """What `measure_accuracy` keeps on disk, by the package's tokenizer."""
    return sum(map(len, encoded(folder, PASSAGES, architecture))) * architecture.vocab_size * _LOGIT_BYTES


def open_graph(folder: Path, architecture: Architecture) -> GraphSession:
    """Opens the graph; what ONNX Runtime refuses to load is a broken package."""
    try:
        return GraphSession(folder / GRAPH_FILE, architecture)
    except Exception as error:  # its exceptions have no common class but this one
        raise ModelPackageError(f"ONNX Runtime cannot load the written graph: {error}") from error


def _tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / TOKENIZER_FILE))


def encoded(folder: Path, texts: Iterable[str], architecture: Architecture) -> list[list[int]]:
    """Token ids of texts by the package's tokenizer."""
    tokenizer = _tokenizer(folder)
    return [_encode(tokenizer, text, architecture) for text in texts]


def _encode(tokenizer: Tokenizer, text: str, architecture: Architecture) -> list[int]:
    ids: list[int] = tokenizer.encode(text).ids[: architecture.max_positions]
    if not ids:
        raise ModelPackageError("The model's tokenizer knows none of the letters of plain English text.")
    return ids


def _perplexity(surprises: list[npt.NDArray[np.float64]]) -> float | None:
    """None where the texts are so short, or the model so lost, that there is no number."""
    numbers = np.concatenate(surprises)
    mean = float(numbers.mean()) if len(numbers) else math.inf
    return round(math.exp(mean), 4) if mean < _LOST else None


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
