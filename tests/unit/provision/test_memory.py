"""Memory: what well-known models take, and the refusal of one that is too large, before anything is written."""

import sys
from pathlib import Path

import pytest

from ai_assistant.engine.model_package import Architecture
from ai_assistant.errors import ConfigurationError
from ai_assistant.provision import build
from ai_assistant.provision.build import build_package
from ai_assistant.provision.memory import bytes_to_build, bytes_to_run, memory_limit, require_memory
from ai_assistant.provision.model_sizes import KNOWN_MODELS, KnownModel, size_table
from unit.provision.tiny_checkpoint import write_checkpoint
from unit.provision.tiny_llama import TinyLlama

GB = 10**9
# Billions, as the publishers of the models state them.
PUBLISHED = {
    "SmolLM2-135M": 0.135,
    "SmolLM2-360M": 0.362,
    "SmolLM2-1.7B": 1.711,
    "Qwen2.5-0.5B": 0.494,
    "Qwen2.5-1.5B": 1.544,
    "Qwen2.5-3B": 3.086,
    "Qwen2.5-7B": 7.616,
    "Qwen3-0.6B": 0.596,
    "Qwen3-1.7B": 1.721,
    "Qwen3-4B": 4.022,
    "Qwen3-8B": 8.191,
    "Llama-3.2-1B": 1.236,
    "Llama-3.2-3B": 3.213,
    "Llama-3.1-8B": 8.030,
    "Mistral-7B": 7.248,
}


def known(name: str) -> KnownModel:
    (model,) = (model for model in KNOWN_MODELS if name in model.name)
    return model


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_of_a_known_model_make_its_published_size(name: str) -> None:
    assert known(name).parameters == pytest.approx(PUBLISHED[name] * GB, rel=0.005)


def test_the_table_has_a_cell_for_every_column() -> None:
    heading, rows = size_table()
    assert len(rows) == len(KNOWN_MODELS) == len(PUBLISHED)
    assert {len(row) for row in rows} == {len(heading)}


def large() -> Architecture:
    return known("Qwen2.5-7B").architecture


def test_too_little_memory_is_one_sentence_with_a_way_out() -> None:
    run, whole = bytes_to_run(large(), "int8"), bytes_to_build(large(), "int8", "fp32")
    assert 8 * GB < run < 11 * GB < 30 * GB < whole < 32 * GB
    with pytest.raises(
        ConfigurationError, match=r"takes 30\.\d GB of memory, and there are 4\.0 GB .*run it on a larger machine"
    ):
        require_memory(large(), "int8", "fp32", 4 * GB)
    with pytest.raises(ConfigurationError, match=r"build it on a larger machine and copy the package here"):
        require_memory(large(), "int8", "fp32", 16 * GB)
    require_memory(large(), "int8", "fp32", 32 * GB)
    require_memory(large(), "int8", "fp32", None)


def test_a_build_that_cannot_fit_writes_nothing(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "memory_limit", lambda: 1_000_000)
    with pytest.raises(ConfigurationError, match="This model is too large to be built here"):
        build_package(str(tiny_gguf), precision="int8", store=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_an_export_that_cannot_fit_is_not_begun(tiny: TinyLlama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = write_checkpoint(tmp_path / "model", tiny)
    weights = (checkpoint / "model.safetensors").stat().st_size
    monkeypatch.setattr(build, "memory_limit", lambda: 4 * weights)
    with pytest.raises(ConfigurationError, match=r"This model is too large to be built here.*build it on a larger machine"):
        build_package(str(checkpoint), exporter="optimum", export_python=Path(sys.executable), store=tmp_path / "store")
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


@pytest.mark.parametrize(("file", "text"), [("memory.max", "2000000\n"), ("memory/memory.limit_in_bytes", "2000000")])
def test_a_container_s_limit_counts(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert memory_limit(tmp_path) == 2_000_000


def test_without_a_limit_the_machine_s_memory_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    limit = memory_limit(tmp_path)
    assert limit == memory_limit(tmp_path / "nothing")
    assert limit is not None
    assert limit > GB
