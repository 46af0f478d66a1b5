"""What a build leaves for the program that started it: the container's termination message in Kubernetes."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ai_assistant.engine.model_package import load_package
from ai_assistant.errors import ConfigurationError, NoSpaceError
from ai_assistant.provision import cli
from ai_assistant.provision.cli import model_app
from ai_assistant.provision.result import reported
from ai_assistant.provision.store import folder_bytes
from hub_server import Hub


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(model_app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def build(source: str | Path, folder: Path, *options: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code and result; the file is there before, as the kubelet makes it."""
    file = folder / "termination-log"
    file.touch()
    code, _, _ = run("build", source, "--store", folder / "store", "--result", file, *options)
    return code, json.loads(file.read_text())


def test_a_success_says_where_the_package_is(hub: Hub, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add("org/tiny", {"tiny.gguf": tiny_gguf.read_bytes()})
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    code, result = build("hf://org/tiny", tmp_path, "--precision", "int8")
    package = load_package(Path(result["path"]))
    assert (code, result.pop("path")) == (0, str(tmp_path / "store" / package.digest))
    assert result == {
        "digest": package.digest,
        "precision": "int8",
        "source": f"hf://org/tiny@{commit}#tiny.gguf",
        "revision": commit,
        "size": folder_bytes(package.path),
    }
    # what the store has already is told in the same way
    assert build("hf://org/tiny", tmp_path, "--precision", "int8")[1]["digest"] == package.digest


def test_a_file_s_revision_is_its_checksum(tiny_gguf: Path, tmp_path: Path) -> None:
    _, result = build(tiny_gguf, tmp_path)
    assert result["revision"] == load_package(Path(result["path"])).manifest.source.sha256


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("hf://org/gone", "source_not_found"),
        ("hf://org/tiny@v9", "source_not_found"),
        ("hf://org/gated", "source_unauthorized"),
        ("hf://org/damaged", "unsupported_model"),
        ("hf://org/pickled", "unsupported_model"),
        ("/nowhere/model.gguf", "source_not_found"),
        ("s3://bucket/model.gguf", "download_failed"),
    ],
)
def test_a_failure_has_a_code_and_a_sentence(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, code: str
) -> None:
    hub.add("org/tiny", {"tiny.gguf": b"GGUF"})
    hub.add("org/gated", {"tiny.gguf": b"GGUF"}, access="gated")
    hub.add("org/damaged", {"tiny.gguf": b"no model"})
    hub.add("org/pickled", {"config.json": b"{}", "pytorch_model.bin": b"pickled"})
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    exit_code, result = build(source, tmp_path)
    assert (exit_code, result["error"]) == (1, code)
    assert result["message"].endswith((".", "FILE"))


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError), reported(tmp_path / "result"):
        raise NoSpaceError
    assert json.loads((tmp_path / "result").read_text()) == {"error": "no_space", "message": "The disk is full."}


def test_a_result_fits_into_a_termination_message(tmp_path: Path) -> None:
    file = tmp_path / "result"
    with pytest.raises(ConfigurationError), reported(file):
        raise ConfigurationError('\x01"ж' * 4000)
    assert len(file.read_bytes()) <= 4096
    assert json.loads(file.read_text())["message"].endswith("…")


def test_an_interruption_and_a_bug_are_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> Path:
        raise KeyboardInterrupt

    def broken(*arguments: object, **options: object) -> Path:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(cli, "build_package", interrupted)
    code, result = build("m.gguf", tmp_path)
    assert (code, result["error"]) == (130, "interrupted")
    monkeypatch.setattr(cli, "build_package", broken)
    code, result = build("m.gguf", tmp_path)
    assert (code, result) == (1, {"error": "internal_error", "message": "ZeroDivisionError: division by zero"})


def test_a_file_that_cannot_be_written_is_told_before_anything_is_built(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_package(*arguments: object, **options: object) -> Path:
        raise AssertionError

    monkeypatch.setattr(cli, "build_package", build_package)
    code, _, error = run("build", tiny_gguf, "--store", tmp_path, "--result", tmp_path / "none" / "result")
    assert code == 1
    assert "cannot be written (No such file or directory); choose another file with --result." in error


def test_prune_removes_what_nobody_keeps(tiny_gguf: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    digests = {}
    for precision in ("fp32", "int8", "int8-weights"):
        digests[precision] = build(tiny_gguf, tmp_path, "--precision", precision)[1]["digest"]
    assert run("prune", "--store", store) == (0, "", "")

    long_ago = time.time() - 7200
    for digest in digests.values():
        os.utime(store / digest, (long_ago, long_ago))
    # asking for it again makes it young
    build(tiny_gguf, tmp_path, "--precision", "int8-weights")
    assert run("prune", "--keep", digests["fp32"], "--store", store) == (0, f"removed {digests['int8']}\n", "")
    assert not (store / digests["int8"]).exists()
    assert run("verify", digests["fp32"], "--store", store)[0] == 0
    assert run("prune", "--min-age", "0", "--store", store)[0] == 0
    assert not (store / digests["fp32"]).exists()


def test_prune_takes_no_half_digest(tiny_gguf: Path, tmp_path: Path) -> None:
    digest = build(tiny_gguf, tmp_path)[1]["digest"]
    code, lines, error = run("prune", "--keep", digest[:8], "--min-age", "0", "--store", tmp_path / "store")
    assert (code, lines) == (1, "")
    assert "is not a whole digest" in error
    assert (tmp_path / "store" / digest).exists()
