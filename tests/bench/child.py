"""The contender's end of the line: reads its job, writes what it measured as JSON lines, and dies with whoever started it."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil
from bench.job import Job
from bench.timeline import Values

Emit = Callable[[str, Values], None]


def main(run: Callable[[Job, Emit], None]) -> None:
    """`run` measures and emits; whatever libraries print goes to stderr, so that stdout stays readable for programs."""
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def emit(measure: str, values: Values) -> None:
        lines.write(json.dumps({"measure": measure, "values": {name: round(value, 4) for name, value in values.items()}}) + "\n")

    try:
        run(Job.read(Path(sys.argv[1])), emit)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    # Not by way of Python's own end: some of these libraries crash there, after all is measured.
    os._exit(0)


def rss_mb(process_id: int | None = None) -> float:
    """Resident memory in MB (10^6 bytes)."""
    return float(psutil.Process(process_id).memory_info().rss) / 1e6


def _end_with_parent() -> None:
    """The parent holds the other end of stdin, which the kernel closes even when the parent is killed."""
    sys.stdin.buffer.read()
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(1)
