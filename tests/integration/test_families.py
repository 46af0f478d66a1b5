"""Every family as transformers computes it: small random checkpoints, each with its options, token by token.

The checkpoints and the expected logits are made by transformers in the environment of the `export_python` fixture.
"""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_assistant.engine.model_package import Architecture
from ai_assistant.provision.checkpoints import open_checkpoint
from ai_assistant.provision.graph import write_graph
from ai_assistant.provision.graph_session import GraphSession
from unit.provision.tiny_checkpoint import write_tokenizer
from unit.provision.tiny_llama import VOCABULARY

SCRIPT = Path(__file__).with_name("random_checkpoints.py")
NAMES = [
    "llama",
    "llama-biases",
    "llama-3",
    "llama-linear",
    "mistral",
    "mistral-window",
    "qwen2",
    "qwen2-yarn",
    "qwen2-window",
    "qwen3",
    "qwen3-biases",
]
CHUNKS = (1, 50, 7, 30, 32)


class Decoder:
    """A checkpoint's graph and what transformers says."""

    def __init__(self, folder: Path, written: Path) -> None:
        checkpoint = open_checkpoint(folder)
        self.architecture: Architecture = checkpoint.architecture
        written.mkdir()
        write_graph(checkpoint, written, precision="fp32")
        self.session = GraphSession(written / "model.onnx", self.architecture)
        with np.load(folder / "reference.npz") as arrays:
            count = len(arrays.files) // 2
            self.texts = [arrays[f"ids{index}"].tolist() for index in range(count)]
            # The rows beyond the tokenizer's vocabulary are not in the graph.
            self.expected = [arrays[f"logits{index}"][:, :VOCABULARY] for index in range(count)]


@pytest.fixture(scope="module")
def checkpoints(export_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, tokenizer = tmp_path_factory.mktemp("checkpoints"), tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(tokenizer)
    made = subprocess.run([export_python, SCRIPT, root, tokenizer], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return root


@pytest.fixture(scope="module", params=NAMES)
def decoder(request: pytest.FixtureRequest, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    return Decoder(checkpoints / request.param, tmp_path_factory.mktemp("graphs") / request.param)


def assert_same(actual: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()
    np.testing.assert_array_equal(actual.argmax(-1), expected.argmax(-1))


def test_every_option_was_tried(checkpoints: Path) -> None:
    assert sorted(NAMES) == sorted(path.name for path in checkpoints.iterdir())


def test_prefill_gives_the_logits_of_transformers(decoder: Decoder) -> None:
    for ids, expected in zip(decoder.texts, decoder.expected, strict=True):
        assert_same(decoder.session.logits(ids), expected)


def test_chunks_give_the_logits_of_transformers(decoder: Decoder) -> None:
    ids, expected = decoder.texts[-1], decoder.expected[-1]
    assert sum(CHUNKS) == len(ids)
    cache, past, parts = decoder.session.empty_cache(1), 0, []
    for size in CHUNKS:
        logits, cache = decoder.session.run(np.array([ids[past : past + size]]), cache, past=past)
        parts.append(logits)
        past += size
    assert_same(np.concatenate(parts), expected)


def test_steps_of_several_rows_give_the_logits_of_transformers(decoder: Decoder) -> None:
    ids, expected = decoder.texts[-1], decoder.expected[-1]
    # The same text in two rows, and another one between them.
    rows = np.array([ids, ids[::-1], ids])
    cache, steps = decoder.session.empty_cache(len(rows)), []
    for position in range(len(ids)):
        logits, cache = decoder.session.run(rows[:, position : position + 1], cache, past=position)
        steps.append(logits)
    by_row = np.stack(steps, axis=1)
    assert_same(by_row[0], expected)
    np.testing.assert_array_equal(by_row[0], by_row[2])
    assert np.abs(by_row[1] - expected).max() > 0.1, "the rows do not differ"
