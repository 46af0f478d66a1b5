"""The commands: results on stdout, sentences on stderr, exit codes that scripts can trust."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ai_assistant.provision import cli
from ai_assistant.provision.cli import model_app
from ai_assistant.settings import StandaloneSettings, WorkerSettings
from hub_server import Hub


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
    assert (code, lines[0].split()) == (0, ["DIGEST", "PRECISION", "SIZE", "ACCURACY", "BUILT", "SOURCE"])
    assert lines[1].split()[:2] == [package.name, "int8"]
    assert lines[1].split()[-3:] == ["just", "now", str(tiny_gguf)]
    assert run("verify", package.name[:7], "--store", tmp_path)[:2] == (0, [f"{package.name} is whole"])

    (package / "tokenizer.json").write_text("{}")
    code, lines, error = run("verify", package)
    assert (code, lines) == (1, [])
    assert error.startswith("error: ")
    assert "tokenizer.json" in error
    assert "broken: " in run("list", "--store", tmp_path)[1][1]

    assert run("remove", package.name, "--store", tmp_path)[0] == 0
    code, lines, hint = run("list", "--store", tmp_path)
    assert (code, lines) == (0, [])
    assert "make one with `ai-assistant model build`" in hint
    assert run("remove", package.name, "--store", tmp_path)[0] == 1


def test_the_store_comes_from_the_environment(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_ASSISTANT_MODEL_STORE", str(tmp_path / "from-environment"))
    _, lines, _ = run("build", tiny_gguf)
    assert Path(lines[-1]).parent == tmp_path / "from-environment"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What builds were asked for, in a folder that a .env can be written to."""
    options: list[dict[str, Any]] = []

    def record(source: str, **given: Any) -> Path:
        options.append(given)
        return tmp_path

    monkeypatch.setattr(cli, "build_package", record)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AI_ASSISTANT_EXPORT_PYTHON", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    return options


def choice(options: dict[str, Any]) -> tuple[str, str, str | None, str]:
    python = options["export_python"]
    return options["precision"], options["device"], python and str(python), str(options["store"])


def test_a_build_means_what_a_worker_means(asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("build", "m.gguf")[0] == 0
    assert choice(asked[-1]) == ("auto", "auto", None, "/x/ai-assistant/models")
    (tmp_path / ".env").write_text("AI_ASSISTANT_DATA_DIR=/d\n")
    assert run("build", "m.gguf")[0] == 0
    assert choice(asked[-1]) == ("auto", "auto", None, "/d/models")
    assert WorkerSettings.load().store == StandaloneSettings.load().store == Path("/d/models")
    settings = {"PRECISION": "int8", "DEVICE": "cuda:1", "EXPORT_PYTHON": "/e/python", "MODEL_STORE": "/m", "DATA_DIR": "/d"}
    (tmp_path / ".env").write_text("".join(f"AI_ASSISTANT_{name}={value}\n" for name, value in settings.items()))
    assert run("build", "m.gguf")[0] == 0
    assert choice(asked[-1]) == ("int8", "cuda:1", "/e/python", "/m")
    monkeypatch.setenv("AI_ASSISTANT_PRECISION", "fp32")
    assert run("build", "m.gguf", "--device", "cpu", "--store", "/o")[0] == 0
    assert choice(asked[-1]) == ("fp32", "cpu", "/e/python", "/o")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("AI_ASSISTANT_PRECISION=int7", "error: AI_ASSISTANT_PRECISION: input should be 'auto', 'fp32'"),
        ("AI_ASSISTANT_MODEL_STORY=/m", "error: AI_ASSISTANT_MODEL_STORY is not a setting of ai-assistant. Did you mean"),
    ],
)
@pytest.mark.parametrize("command", [("build", "m.gguf"), ("list",)])
def test_a_wrong_setting_is_one_sentence(
    asked: list[dict[str, Any]], tmp_path: Path, line: str, sentence: str, command: tuple[str, ...]
) -> None:
    (tmp_path / ".env").write_text(f"{line}\n")
    code, lines, error = run(*command)
    assert (code, lines, asked) == (1, [], [])
    assert error.count("\n") == 1
    assert error.startswith(sentence)


def test_a_wrong_source_is_one_sentence(tmp_path: Path) -> None:
    code, lines, error = run("build", "s3://bucket/m.gguf", "--store", tmp_path)
    assert (code, lines) == (1, [])
    assert error.count("\n") == 1
    assert error.startswith("error: The source 's3://bucket/m.gguf' has an unknown scheme; write hf://ORG/NAME")


def test_an_interruption_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "build_package", interrupted)
    code, lines, error = run("build", "m.gguf", "--store", tmp_path)
    assert (code, lines, error) == (130, [], "")


def test_a_list_for_programs(tiny_gguf: Path, tmp_path: Path) -> None:
    package = Path(run("build", tiny_gguf, "--precision", "int8", "--store", tmp_path)[1][-1])
    (record,) = json.loads("\n".join(run("list", "--json", "--store", tmp_path)[1]))
    assert (record["digest"], record["path"], record["precision"]) == (package.name, str(package), "int8")
    assert (record["problem"], record["in_use"], record["is_accurate"], record["licence"]) == (None, False, True, "apache-2.0")
    assert 0.9 < record["top1"] < 1
    assert record["bytes"] == sum(path.stat().st_size for path in package.iterdir())
    assert f"{record['top1']:.1%}" in run("list", "--store", tmp_path)[1][1]


HOLDER = """
import sys
from ai_assistant.engine.model_package import hold, load_package
hold(load_package(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_what_a_worker_uses_is_not_removed(tiny_gguf: Path, tmp_path: Path) -> None:
    package = Path(run("build", tiny_gguf, "--store", tmp_path)[1][-1])
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(package)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "held\n"
        assert "in use" in run("list", "--store", tmp_path)[1][1]
        code, lines, error = run("remove", package.name, "--store", tmp_path)
        assert (code, lines) == (1, [])
        assert "A running worker uses" in error
        assert "stop it first" in error
        assert package.exists()
        worker.kill()
    assert run("remove", package.name, "--store", tmp_path)[0] == 0


def test_unfinished_downloads_are_shown_and_removed(
    hub: Hub, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/tiny", {"tiny.gguf": tiny_gguf.read_bytes()[:300_000]})
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert run("build", "hf://org/tiny", "--store", tmp_path)[0] == 1
    assert "Unfinished downloads take 1 MB" in run("list", "--store", tmp_path)[2]
    assert run("remove", "--unfinished", "--store", tmp_path)[:2] == (0, ["removed 1 MB of unfinished downloads"])
    assert "Unfinished" not in run("list", "--store", tmp_path)[2]
    assert run("remove", "--store", tmp_path)[0] == 2
