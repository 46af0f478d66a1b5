"""How the exporter is found, run and ended, with small programs in the place of its Python."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ai_assistant.errors import AssistantError, ConfigurationError, ExportError, NoSpaceError, UnsupportedModelError
from ai_assistant.provision.export_process import find_export_python, run_export
from ai_assistant.provision.exporter import Exporter
from ai_assistant.provision.progress import EXPORT, no_progress
from unit.provision.tiny_checkpoint import write_checkpoint
from unit.provision.tiny_llama import TinyLlama


def program(folder: Path, *lines: str) -> Path:
    """A Python that does only this, in the folder that the exporter writes to."""
    path = folder / "python"
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return path


def problem(kind: str, message: str = "Because.") -> str:
    return f"""echo '{json.dumps({"problem": kind, "message": message})}' > result.json; exit 3"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "export"
    made.mkdir()
    return made


def test_the_result_is_what_the_exporter_wrote(tmp_path: Path, folder: Path) -> None:
    lines = (
        'test "$1 $2 ${3##*/}" = "-I -u optimum_export.py"',
        "grep -q checkpoint $4",
        "printf '{\"layers\": 2}' > result.json",
    )
    stages: list[str] = []
    result = run_export(
        program(tmp_path, "set -e", *lines, "env > seen"),
        {"checkpoint": "c"},
        folder,
        lambda stage, *rest, **more: stages.append(stage),
    )
    assert result == {"layers": 2}
    assert set(stages) == {EXPORT}
    environment = (folder / "seen").read_text().splitlines()
    assert {"HF_HUB_OFFLINE=1", f"TMPDIR={folder}"} <= set(environment)


@pytest.mark.parametrize(
    ("lines", "error", "words"),
    [
        ((problem("unsupported", "It is no decoder."),), UnsupportedModelError, "^It is no decoder.$"),
        ((problem("environment"),), ConfigurationError, r"no environment for exports \(Because.\); .*make export"),
        ((problem("space"),), NoSpaceError, "is full"),
        ((problem("memory"),), ExportError, "ran out of memory"),
        (("kill -9 $$",), ExportError, "ran out of memory"),
        (("echo one; echo two >&2", problem("failed")), ExportError, r"\(Because.\)(?s:.*)  one\n  two$"),
        (("exit 0",), ExportError, r"ended with status 0(?s:.*)\(nothing\)"),
        (("kill -11 $$",), ExportError, "ended by signal 11"),
        (("echo '{' > result.json; echo why; exit 1",), ExportError, r"status 1(?s:.*)why"),
    ],
    ids=["unsupported", "environment", "space", "memory", "killed", "failed", "nothing", "crash", "half"],
)
def test_every_end_is_a_sentence(
    tmp_path: Path, folder: Path, lines: tuple[str, ...], error: type[AssistantError], words: str
) -> None:
    with pytest.raises(error, match=words):
        run_export(program(tmp_path, *lines), {}, folder, no_progress)


def test_a_program_that_cannot_be_started_is_named(tmp_path: Path, folder: Path) -> None:
    broken = program(tmp_path)
    broken.write_text("#!/no/such/interpreter\n")
    with pytest.raises(ConfigurationError, match=r"python cannot be run.*make export"):
        run_export(broken, {}, folder, no_progress)


def test_the_exporter_ends_with_its_parent(tmp_path: Path) -> None:
    """Even a parent that was killed: its end closes the exporter's standard input."""
    exporter = Path(__file__).parents[3] / "src/ai_assistant/provision/optimum_export.py"
    code = f"import runpy; runpy.run_path({str(exporter)!r})['_end_with_parent']()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        time.sleep(0.3)
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 3


def test_the_environment_is_found_beside_ours_or_where_it_is_said_to_be(tmp_path: Path) -> None:
    assert find_export_python(None, tmp_path / ".venv") is None
    (tmp_path / ".venv-export").mkdir()
    # It is still being made.
    assert find_export_python(None, tmp_path / ".venv") is None
    (tmp_path / ".venv-export/.ready").touch()
    assert find_export_python(None, tmp_path / ".venv") == tmp_path / ".venv-export/bin/python"
    assert find_export_python(Path(sys.executable)) == Path(sys.executable)
    for wrong in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigurationError, match=r"AI_ASSISTANT_EXPORT_PYTHON is .* no program"):
            find_export_python(wrong)


def test_the_choice_is_checked_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no exporter 'torch'; choose one of auto, own, optimum"):
        Exporter("torch", "fp32", None)
    with pytest.raises(UnsupportedModelError, match=r"^What optimum exports.*--precision fp32"):
        Exporter("optimum", "int8", None)
    assert Exporter("optimum", "int8,fp32", None).open(tmp_path) is None
    assert Exporter("optimum", "auto", None).open(tmp_path) is None
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(os.urandom(8))
    with pytest.raises(UnsupportedModelError, match=r"m.gguf is no checkpoint in safetensors"):
        Exporter("optimum", "fp32", None).open(gguf)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel is not supported"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "rope scaling of the kind longrope"),
        ({"hidden_act": "gelu"}, "hidden_act = gelu"),
        ({"head_dim": 24}, "A head size of 24"),
    ],
)
def test_what_our_graphs_do_not_compute_optimum_may(
    tmp_path: Path, tiny: TinyLlama, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], sentence: str
) -> None:
    checkpoint = write_checkpoint(tmp_path, tiny, config=config)
    assert Exporter("auto", "fp32", Path(sys.executable)).open(checkpoint) is None
    monkeypatch.setattr("ai_assistant.provision.exporter.find_export_python", lambda given: None)
    with pytest.raises(UnsupportedModelError, match=f"{sentence}.*optimum may be able to export it.*make export"):
        Exporter("auto", "fp32", None).open(checkpoint)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ({"quantization_config": {"quant_method": "awq"}, "model_type": "gpt2"}, "quantised"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Own"}}, "auto_map"),
        ({"eos_token_id": None}, "names no token that ends an answer"),
    ],
)
@pytest.mark.parametrize("python", [None, Path(sys.executable)])
def test_what_optimum_would_not_mend_suggests_no_export(
    tmp_path: Path, tiny: TinyLlama, config: dict[str, Any], sentence: str, python: Path | None
) -> None:
    checkpoint = write_checkpoint(tmp_path, tiny, config=config)
    for name in ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        (checkpoint / name).unlink(missing_ok=True)
    with pytest.raises(UnsupportedModelError, match=sentence) as refused:
        Exporter("auto", "fp32", python).open(checkpoint)
    assert "optimum" not in refused.value.message
