"""Decoders that only optimum knows, from a checkpoint to answers: what transformers says, token for token.

The checkpoints are made, and the answers given, by transformers in the environment of the `export_python` fixture.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ai_assistant.engine.backends import load_runner
from ai_assistant.engine.backends.past_tensors import PastTensorsRunner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_package import ModelPackage, load_package
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import FinishReason, Sequence
from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.errors import ConfigurationError, ExportError, UnsupportedModelError
from ai_assistant.provision import exported_model
from ai_assistant.provision.build import build_package
from ai_assistant.provision.export_process import run_export
from ai_assistant.provision.progress import EXPORT, Progress
from ai_assistant.settings import WorkerSettings
from ai_assistant.worker.app import load_engine

SCRIPT = Path(__file__).with_name("exportable_checkpoints.py")
FAMILIES = ["gpt2", "opt", "gemma", "gemma2", "gemma3"]
GREEDY = {"temperature": 0.0, "ignore_eos": True}


@dataclass(frozen=True)
class Case:
    """A package and what transformers answers."""

    package: ModelPackage
    prompts: list[list[int]]
    answers: list[list[int]]

    def engine(self, *, slots: int = 4, chunk: int = 256, park_seconds: float = 300) -> LLMEngine:
        config = EngineConfig(num_slots=slots, prefill_chunk=chunk, park_seconds=park_seconds)
        return LLMEngine(load_runner(self.package, config, threads=1), config)

    def sequences(self) -> list[Sequence]:
        sampling = SamplingParams(max_tokens=len(self.answers[0]), **GREEDY)
        return [Sequence(f"s{index}", prompt, sampling) for index, prompt in enumerate(self.prompts)]


@pytest.fixture(scope="module")
def checkpoints(export_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkpoints")
    made = subprocess.run([export_python, "-I", SCRIPT, root, *FAMILIES], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest, checkpoints: Path, store: Path, export_python: Path) -> Case:
    family = request.param
    folder = build_package(str(checkpoints / family), store=store, export_python=export_python)
    answers = json.loads((checkpoints / f"{family}.json").read_text())
    package = load_package(folder, verify=True)
    return Case(package, [answer["prompt"] for answer in answers], [answer["answer"] for answer in answers])


@pytest.fixture
def checkpoint(checkpoints: Path, tmp_path: Path) -> Path:
    """A copy of one that a test may break."""
    return Path(shutil.copytree(checkpoints / "gpt2", tmp_path / "gpt2"))


def run(engine: LLMEngine, sequences: list[Sequence]) -> None:
    for sequence in sequences:
        engine.add(sequence)
    while engine.has_work:
        assert engine.step().failures == []


def held(engine: LLMEngine) -> int:
    assert isinstance(engine.runner, PastTensorsRunner)
    return engine.runner.num_tokens_held


def test_the_package_says_how_it_was_made(case: Case) -> None:
    manifest = case.package.manifest
    assert manifest.graph_contract == "past-tensors/1"
    assert manifest.precision == "fp32"
    assert manifest.accuracy is not None
    assert manifest.accuracy.top1 == 1.0
    assert manifest.accuracy.mean_kl < 1e-6
    assert manifest.built_with["optimum"].startswith("2.1.")
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in case.package.path.iterdir())
    # Two layers, keys and values, four bytes; all of these have 32 or 2 x 16 numbers in a layer's key.
    assert manifest.kv_bytes_per_token == 2 * 2 * 4 * 32


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_greedy_answers_are_those_of_transformers_in_any_company(case: Case, slots: int) -> None:
    sequences = case.sequences()
    run(case.engine(slots=slots), sequences)
    assert [sequence.completion_ids for sequence in sequences] == case.answers


@pytest.mark.parametrize("chunk", [3, 16])
def test_prompts_read_in_chunks_give_the_same_answers(case: Case, chunk: int) -> None:
    sequences = case.sequences()
    run(case.engine(chunk=chunk), sequences)
    assert [sequence.completion_ids for sequence in sequences] == case.answers


def test_sampling_with_a_seed_does_not_depend_on_company(case: Case) -> None:
    sampling = SamplingParams(max_tokens=12, temperature=0.9, top_p=0.95, seed=7, ignore_eos=True)
    together = [Sequence(f"s{index}", prompt, sampling) for index, prompt in enumerate(case.prompts)]
    run(case.engine(), together)
    for sequence in together:
        alone = Sequence("alone", sequence.prompt_ids, sampling)
        run(case.engine(slots=1), [alone])
        assert alone.completion_ids == sequence.completion_ids


def test_rows_that_leave_change_no_other_and_keep_nothing(case: Case) -> None:
    engine, sequences = case.engine(park_seconds=0), case.sequences()
    for sequence in sequences:
        engine.add(sequence)
    while len(sequences[0].completion_ids) < 5:
        engine.step()
    engine.cancel("s0")
    late = Sequence("late", case.prompts[0], sequences[0].sampling)
    engine.add(late)
    while engine.has_work:
        assert engine.step().failures == []
    assert [sequence.completion_ids for sequence in (late, *sequences[1:])] == case.answers
    assert sequences[0].completion_ids == case.answers[0][: len(sequences[0].completion_ids)]
    engine.tidy()
    assert held(engine) == 0


def test_answers_end_where_the_context_does(case: Case) -> None:
    engine = case.engine(slots=1)
    prompt = (case.prompts[2] * 8)[: engine.max_context - 3]
    sequence = Sequence("full", prompt, SamplingParams(max_tokens=64, **GREEDY))
    engine.add(sequence)
    reasons = [output.finish_reason for _ in range(64) if engine.has_work for output in engine.step().tokens]
    assert reasons[-1] is FinishReason.LENGTH
    assert len(sequence.completion_ids) == 3


def test_prompts_begin_as_the_tokenizer_begins_them(case: Case) -> None:
    tokenizer, chat = Tokenizer.of_package(case.package), [{"role": "user", "content": "How are you?"}]
    begins_with, transcript = {"gpt2": ("", True), "opt": ("</s>", True)}.get(
        case.package.manifest.architecture.family, ("<bos>", False)
    )
    text = tokenizer.decode(tokenizer.encode_chat(chat), skip_special=False)
    assert text == tokenizer.render_chat(chat)
    assert text.startswith(begins_with)
    assert text.count(begins_with or "<|endoftext|>") == bool(begins_with)
    assert (text == f"{begins_with}User: How are you?\nAssistant:") == transcript


def test_a_worker_loads_it(case: Case) -> None:
    settings = WorkerSettings(model_package=case.package.path, slots=2)
    engine, tokenizer = load_engine(settings, case.package)
    assert engine.max_context == case.package.manifest.architecture.max_positions
    assert tokenizer.vocab_size == 384


def test_the_command_builds_and_tries_it(checkpoints: Path, tmp_path: Path, export_python: Path) -> None:
    environment = {**os.environ, "AI_ASSISTANT_EXPORT_PYTHON": str(export_python)}
    command = [sys.executable, "-m", "ai_assistant", "model"]
    build = [*command, "build", str(checkpoints / "gpt2"), "--exporter", "optimum", "--store", str(tmp_path)]
    built = subprocess.run(build, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    stages = [json.loads(line)["stage"] for line in built.stderr.splitlines()]
    assert stages.index(EXPORT) < stages.index("verify")
    tried = subprocess.run(
        [*command, "try", built.stdout.strip(), "Hello", "--greedy", "--max-tokens", "8", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stderr
    assert 0 < len(json.loads(tried.stdout)["completion_ids"]) <= 8


def test_without_an_environment_it_says_how_to_get_one(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_assistant.provision.exporter.find_export_python", lambda given: None)
    with pytest.raises(UnsupportedModelError, match=r"GPT2LMHeadModel is not supported.*make export.*AI_ASSISTANT_EXPORT_PYTHON"):
        build_package(str(checkpoints / "gpt2"), store=tmp_path)
    with pytest.raises(UnsupportedModelError, match="GPT2LMHeadModel is not supported"):
        build_package(str(checkpoints / "gpt2"), exporter="own", store=tmp_path)
    with pytest.raises(ConfigurationError, match="make export"):
        build_package(str(checkpoints / "gpt2"), exporter="optimum", store=tmp_path)


def test_an_environment_without_optimum_is_named(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no environment for exports \(ModuleNotFoundError.*make export"):
        build_package(str(checkpoints / "gpt2"), store=tmp_path, export_python=Path(sys.executable))


def test_other_precisions_are_refused_before_anything_is_done(checkpoints: Path, tmp_path: Path, export_python: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"GPT2LMHeadModel is not supported.*--precision fp32"):
        build_package(str(checkpoints / "gpt2"), precision="int8", store=tmp_path, export_python=export_python)


def edited(checkpoint: Path, **changes: object) -> None:
    file = checkpoint / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def lacking_tokenizer(checkpoint: Path) -> None:
    for file in checkpoint.glob("*token*"):
        file.unlink()


@pytest.mark.parametrize(
    ("breaking", "error", "words"),
    [
        (
            lambda folder: edited(folder, model_type="rwkv"),
            UnsupportedModelError,
            "optimum cannot export models of the kind 'rwkv'",
        ),
        (lambda folder: edited(folder, model_type="t5"), UnsupportedModelError, "'t5' has an encoder"),
        (lacking_tokenizer, UnsupportedModelError, "no tokenizer that transformers can read"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 64), ExportError, r"(?s)could not export.*last lines"),
    ],
    ids=["unknown", "encoder", "tokenizer", "weights"],
)
def test_what_cannot_be_exported_is_a_sentence(
    checkpoint: Path,
    tmp_path: Path,
    export_python: Path,
    breaking: Callable[[Path], object],
    error: type[Exception],
    words: str,
) -> None:
    breaking(checkpoint)
    with pytest.raises(error, match=words):
        build_package(str(checkpoint), exporter="optimum", store=tmp_path / "store", export_python=export_python)
    assert not list((tmp_path / "store").glob("[0-9a-f]*"))


def test_a_graph_that_computes_something_else_is_not_published(
    checkpoint: Path, tmp_path: Path, export_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One vector of a norm; all others in this checkpoint are as they were initialised.
    weight = (checkpoint / "model.safetensors").read_bytes()[-64:]

    def export_otherwise(python: Path, request: Mapping[str, Any], folder: Path, progress: Progress) -> dict[str, Any]:
        result = run_export(python, request, folder, progress)
        graph = folder / "model.onnx"
        assert weight in graph.read_bytes()
        graph.write_bytes(graph.read_bytes().replace(weight, weight[::-1]))
        return result

    monkeypatch.setattr(exported_model, "run_export", export_otherwise)
    with pytest.raises(ExportError, match="does not compute what transformers does"):
        build_package(str(checkpoint), store=tmp_path / "store", export_python=export_python)
    assert not list((tmp_path / "store").glob("[0-9a-f]*"))


def test_an_interrupted_build_ends_the_exporter(checkpoint: Path, tmp_path: Path, export_python: Path) -> None:
    children: list[int] = []

    def progress(stage: str, done: int, total: int | None, *rest: object, **more: object) -> None:
        if stage == EXPORT:
            children.extend(map(int, Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_package(str(checkpoint), store=tmp_path / "store", export_python=export_python, progress=progress)
    assert children
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
