"""The simulated comparison: repeatable, and what docs/ shows is what the code does now."""

import json
from pathlib import Path

import pytest

from bench_scaling.__main__ import main, page, results


def test_docs_are_up_to_date() -> None:
    assert main(["--check"]) == 0, "run `python -m bench_scaling`"


def test_it_says_the_same_every_time() -> None:
    found = results(["step"])
    assert found == results(["step"])
    assert "| ai-assistant |" in page(json.loads(json.dumps(found)))


def test_a_file_that_is_out_of_date_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench_scaling.__main__.results", lambda: results(["poison"]))
    assert main(["--check"], tmp_path) == 1
    assert "docs/scaling.md" in capsys.readouterr().err
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
