"""The runner of exported graphs, on a graph whose answer tells every token that a row holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_assistant.engine.backends import load_runner
from ai_assistant.engine.backends.past_tensors import PastTensorsRunner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_package import Manifest, ModelPackage
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import Sequence
from ai_assistant.errors import ModelError, ModelPackageError, UnsupportedModelError

from .past_tensors_graph import POSITIONS, expected_logits, write_graph


@pytest.fixture
def runner(tmp_path: Path) -> PastTensorsRunner:
    made = load_runner(write_graph(tmp_path), EngineConfig(), threads=1)
    assert isinstance(made, PastTensorsRunner)
    made.resize(3, 32, [])
    return made


def assert_logits(actual: np.ndarray[Any, Any], token_ids: list[int]) -> None:
    np.testing.assert_allclose(actual, expected_logits(token_ids), rtol=1e-5, atol=1e-5)


def test_prompts_in_chunks_and_rows_of_different_lengths(runner: PastTensorsRunner) -> None:
    assert_logits(runner.prefill(0, [1, 2, 3], 0), [1, 2, 3])
    runner.prefill(1, [4, 5], 0)
    assert_logits(runner.prefill(1, [6, 7, 8], 2), [4, 5, 6, 7, 8])
    logits = runner.decode([9, 10], [3, 5])
    assert_logits(logits[0], [1, 2, 3, 9])
    assert_logits(logits[1], [4, 5, 6, 7, 8, 10])
    assert runner.num_tokens_held == 10
    assert runner.kv_bytes_per_token == 2 * 3 * 4


def test_a_row_that_was_cut_forgets_the_rest(runner: PastTensorsRunner) -> None:
    runner.prefill(0, [1, 2, 3, 4], 0)
    assert_logits(runner.prefill(0, [5], 2), [1, 2, 5])
    runner.free(0, keep=1)
    assert runner.num_tokens_held == 1
    assert_logits(runner.prefill(0, [6, 7], 1), [1, 6, 7])
    runner.free(0)
    assert runner.num_tokens_held == 0
    assert_logits(runner.prefill(0, [8], 0), [8])


def test_copies_of_a_row_do_not_feel_each_other(runner: PastTensorsRunner) -> None:
    runner.prefill(0, [1, 2, 3], 0)
    runner.move(0, 2, 2)
    assert_logits(runner.prefill(2, [4], 2), [1, 2, 4])
    assert_logits(runner.prefill(0, [5], 3), [1, 2, 3, 5])
    runner.swap(0, 2, 4)
    assert_logits(runner.prefill(0, [6], 3), [1, 2, 4, 6])
    assert_logits(runner.prefill(2, [6], 4), [1, 2, 3, 5, 6])


def test_rows_survive_a_change_of_their_number(runner: PastTensorsRunner) -> None:
    runner.prefill(0, [1, 2], 0)
    runner.prefill(1, [3, 4], 0)
    runner.resize(5, 64, [2, 1])
    assert_logits(runner.prefill(0, [5], 2), [1, 2, 5])
    assert_logits(runner.prefill(1, [5], 1), [3, 5])
    assert_logits(runner.prefill(4, [5], 0), [5])
    runner.resize(1, 32, [3])
    assert runner.num_tokens_held == 3


def test_a_step_that_fails_for_one_row_loses_nothing(runner: PastTensorsRunner) -> None:
    runner.prefill(0, [1, 2], 0)
    runner.prefill(1, [3], 0)
    with pytest.raises(ModelError, match="could not compute the next tokens"):
        runner.decode([4, 99], [2, 1])
    assert_logits(runner.prefill(0, [4], 2), [1, 2, 4])
    assert_logits(runner.prefill(1, [4], 1), [3, 4])
    with pytest.raises(ModelError, match="could not read the prompt"):
        runner.prefill(0, [-99], 3)


def test_logits_are_the_same_in_any_company(runner: PastTensorsRunner) -> None:
    runner.prefill(0, [1, 2], 0)
    alone = runner.decode([3], [2])[0].copy()
    runner.free(0, keep=2)
    runner.prefill(1, [4, 5, 6], 0)
    np.testing.assert_array_equal(runner.decode([3, 7], [2, 3])[0], alone)


def test_an_engine_leaves_nothing_behind(tmp_path: Path) -> None:
    config = EngineConfig(num_slots=2)
    runner = load_runner(write_graph(tmp_path), config, threads=1)
    engine = LLMEngine(runner, config)
    assert engine.max_context == POSITIONS
    sampling = SamplingParams(max_tokens=5, temperature=0.0, ignore_eos=True)
    sequences = [Sequence(str(index), [index + 1, 2], sampling) for index in range(4)]
    for sequence in sequences:
        engine.add(sequence)
    while engine.has_work:
        assert engine.step().failures == []
    for sequence in sequences:
        ids = [*sequence.prompt_ids]
        for token_id in sequence.completion_ids:
            assert token_id == expected_logits(ids).argmax()
            ids.append(token_id)
    assert isinstance(runner, PastTensorsRunner)
    assert runner.num_tokens_held == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"extra_inputs": ("pixel_values",)}, "asks for pixel_values"),
        ({"cache": ["batch_size", 2, "tokens", 3]}, r"keeps past_key_values.0.key as .*tokens.*not supported"),
        ({"cache": ["batch_size", "heads", "past_sequence_length", 3]}, "not supported"),
    ],
    ids=["input", "axis", "size"],
)
def test_graphs_of_another_kind_are_refused_by_name(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        load_runner(write_graph(tmp_path, **options), EngineConfig(), threads=1)


def test_a_package_of_one_contract_is_not_run_as_the_other(tmp_path: Path) -> None:
    exported = write_graph(tmp_path)
    wrong = ModelPackage(tmp_path, exported.manifest.model_copy(update={"graph_contract": "gqa-slots/1"}))
    with pytest.raises(ModelPackageError, match="describes no graph of the kind"):
        load_runner(wrong, EngineConfig(), threads=1)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelPackageError, match="cannot be opened"):
        load_runner(exported, EngineConfig(), threads=1)


def test_the_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = write_graph(tmp_path).manifest.with_digest()
    again = Manifest.model_validate_json(manifest.to_json())
    assert again == manifest
    assert again.content_digest() == manifest.digest
