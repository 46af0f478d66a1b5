"""What children write: a bounded log file per child, and which lines a person should see at once."""

import json
import os
import re
from pathlib import Path
from typing import Any

MAX_LOG_BYTES = 5_000_000
LEVELS = {"warning", "error", "critical"}
HIDDEN = {"level", "event", "logger", "timestamp", "process", "exception"}

_CONSOLE_LEVEL = re.compile(r"\[(?:\x1b\[[0-9;]*m)*(warning|error|critical)\b", re.IGNORECASE)
_POSTGRES_LEVEL = re.compile(r"\b(?:FATAL|PANIC):")


class LogFile:
    """`name`.log and the one before it, `name`.log.1. A disk that is full loses lines, never the run."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_LOG_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._descriptor: int | None = None
        self._size = 0
        self._open()

    def write(self, line: str) -> None:
        data = line.encode("utf-8", "replace") + b"\n"
        try:
            if self._size + len(data) > self._max_bytes:
                self.close()
                self._open()
            if self._descriptor is not None:
                self._size += os.write(self._descriptor, data)
        except OSError:
            return

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        if self.path.exists():
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = 0


def readable(line: str) -> str:
    """A log line for a person: a JSON line becomes `level: event key=value`, anything else stays."""
    fields = _fields(line)
    return _render(fields) if fields else line.strip()


def worrying(line: str) -> str | None:
    """The readable line if it is a warning or an error of one of our processes."""
    fields = _fields(line)
    if fields:
        return _render(fields) if fields.get("level") in LEVELS else None
    return line.strip() if _CONSOLE_LEVEL.search(line) else None


def fatal_in_postgres(line: str) -> str | None:
    """The line if it tells of PostgreSQL's own trouble; failed statements are told by who sent them."""
    return line.strip() if _POSTGRES_LEVEL.search(line) else None


def never_worrying(line: str) -> str | None:
    """Valkey: what matters is that it ends, and then its last line is told."""
    del line
    return None


def _fields(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        fields = json.loads(line)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) and "event" in fields else {}


def _render(fields: dict[str, Any]) -> str:
    text = f"{fields.get('level', 'info')}: {fields['event']}"
    for name, value in fields.items():
        if name not in HIDDEN and value is not None:
            text += f" {name}={value}"
    for exception in _exceptions(fields.get("exception"))[:1]:
        text += f" ({exception})"
    return text


def _exceptions(value: Any) -> list[str]:
    if not isinstance(value, list):
        return []
    return [f"{item.get('exc_type')}: {item.get('exc_value')}" for item in value if isinstance(item, dict)]
