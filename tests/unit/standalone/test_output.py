"""Which lines of children a person sees, and that logs stay small."""

import json
from pathlib import Path

import pytest

from ai_assistant.standalone.output import LogFile, fatal_in_postgres, readable, worrying

JSON_ERROR = json.dumps(
    {"level": "error", "event": "lost", "task": "7", "logger": "x", "exception": [{"exc_type": "OSError", "exc_value": "gone"}]}
)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (JSON_ERROR, "error: lost task=7 (OSError: gone)"),
        ('{"level": "info", "event": "calm"}', None),
        ('{"not": "a log line"}', None),
        ("{broken", None),
        ("2026-11-23 [warning  ] careful  a=1", "2026-11-23 [warning  ] careful  a=1"),
        ("2026-11-23 [info     ] warning of nothing", None),
        ("plain", None),
    ],
)
def test_only_warnings_and_errors_are_shown(line: str, shown: str | None) -> None:
    assert worrying(line) == shown


def test_lines_are_readable_whatever_they_are() -> None:
    assert readable('{"level": "info", "event": "calm", "timestamp": "t"}') == "info: calm"
    assert readable("ValueError: x ") == "ValueError: x"


def test_postgres_is_shown_for_its_own_trouble_only() -> None:
    assert fatal_in_postgres("2026 [1] FATAL:  no space")
    assert fatal_in_postgres("2026 [1] ERROR:  duplicate key") is None


def test_log_is_rotated_at_start_and_when_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("the last run\n")
    log = LogFile(path, max_bytes=100)
    assert (tmp_path / "a.log.1").read_text() == "the last run\n"
    for number in range(50):
        log.write(f"line {number}")
    log.close()
    assert path.read_text().endswith("line 49\n")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 200
    assert len(list(tmp_path.iterdir())) == 2
