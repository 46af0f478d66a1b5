"""The commands: results on stdout, sentences on stderr, exit codes that scripts can trust."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ai_assistant.provision import cli
from ai_assistant.provision.cli import model_app


def run(*arguments: str | Path) -> tuple[int, list[str], str]:
    result = CliRunner().invoke(model_app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout.splitlines(), result.stderr


def test_build_list_verify_remove(tiny_gguf: Path, tmp_path: Path) -> None:
    code, lines, progress = run("build", tiny_gguf, "--store", tmp_path)
    assert code == 0
    package = Path(lines[-1])
    assert package.parent == tmp_path
    assert [json.loads(line)["stage"] for line in progress.splitlines()][-1] == "verify"

    assert run("verify", package)[:2] == (0, [f"{package.name} is whole"])
    code, lines, _ = run("list", "--store", tmp_path)
    assert (code, lines[0].split()[:2]) == (0, [package.name, "int8"])

    (package / "tokenizer.json").write_text("{}")
    code, lines, error = run("verify", package)
    assert (code, lines) == (1, [])
    assert error.startswith("error: ")
    assert "tokenizer.json" in error
    assert "broken" in run("list", "--store", tmp_path)[1][0]

    assert run("remove", package.name, "--store", tmp_path)[0] == 0
    assert run("list", "--store", tmp_path)[1] == []
    assert run("remove", package.name, "--store", tmp_path)[0] == 1


def test_the_store_comes_from_the_environment(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_ASSISTANT_MODEL_STORE", str(tmp_path / "from-environment"))
    _, lines, _ = run("build", tiny_gguf)
    assert Path(lines[-1]).parent == tmp_path / "from-environment"


def test_a_wrong_source_is_one_sentence(tmp_path: Path) -> None:
    code, lines, error = run("build", "hf://org/name", "--store", tmp_path)
    assert (code, lines) == (1, [])
    assert error.count("\n") == 1
    assert error.startswith("error: hf://org/name: hf:// sources come in a later release")


def test_an_interruption_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "build_package", interrupted)
    code, lines, error = run("build", "m.gguf", "--store", tmp_path)
    assert (code, lines, error) == (130, [], "")
