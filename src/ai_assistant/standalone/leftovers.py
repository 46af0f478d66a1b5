"""Servers that a killed run left behind in our data folder.

They normally die with us; this is for systems that have no parent-death signal, and for the moment in which they go down.
The caller holds the lock of the data folder, so whoever still works in it is a left-over by definition.
"""

import contextlib
from pathlib import Path

import psutil  # type: ignore[import-untyped]


def end_leftovers(folder: Path, name: str, *, seconds: float = 5.0) -> int:
    """End every process called `name` that works in `folder`; returns how many there were."""
    found = [process for process in psutil.process_iter(["name"]) if _works_in(process, folder, name)]
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(found, timeout=seconds / 2)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=seconds / 2)
    return len(found)


def _works_in(process: psutil.Process, folder: Path, name: str) -> bool:
    try:
        return process.info["name"] == name and Path(process.cwd()) == folder.resolve()
    except (psutil.Error, OSError):
        return False
