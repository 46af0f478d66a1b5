"""`ai-assistant model bench` over a real graph of a tiny model."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ai_assistant.engine.bench_command import bench_model
from ai_assistant.provision.build import build_package


@pytest.fixture(scope="module")
def package(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_package(str(tiny_gguf), store=tmp_path_factory.mktemp("store"))


def bench(*arguments: str | Path) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command()(bench_model)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_json_for_programs(package: Path) -> None:
    code, output, error = bench(
        package, "--threads", 1, "--batch", 2, "--batch", 5, "--tokens", 4, "--prompt-tokens", 20, "--json"
    )
    assert (code, error) == (0, "")
    found = json.loads(output)
    assert (found["package"], found["precision"], found["threads"], found["prompt_tokens"]) == (package.name, "fp32", 1, 20)
    assert list(found["tokens_per_second"]) == ["2", "5"]
    assert all(speed > 0 for speed in found["tokens_per_second"].values())
    assert 0 < found["first_token_seconds"] < 10
    assert found["resident_bytes"] > 10_000_000


def test_a_table_for_people(package: Path) -> None:
    code, output, _ = bench(package, "--tokens", 4, "--prompt-tokens", 20)
    assert code == 0
    rows = ("load", "first token after 20", "1 at once", "4 at once", "8 at once", "16 at once", "memory")
    assert [row for row in rows if row not in output] == []


def test_what_cannot_be_measured_is_one_sentence(package: Path, tmp_path: Path) -> None:
    for arguments, reason in (((tmp_path,), "not a model package"), ((package, "--prompt-tokens", 1_000_000), "do not fit")):
        code, output, error = bench(*arguments)
        assert (code, output) == (1, "")
        assert error.startswith("error: ")
        assert reason in error
        assert error.count("\n") == 1
