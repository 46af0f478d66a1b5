"""One builder at a time per recipe, across processes and threads. The kernel frees the lock of a process that dies."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_SECONDS = 0.25


@contextmanager
def locked(path: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the lock file `path`; calls `waiting` again and again while another holds it. The file stays."""
    with path.open("a") as file:
        while not _try_lock(file.fileno()):
            waiting()
            time.sleep(_POLL_SECONDS)
        yield


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Holds the lock if nobody else does; says whether it holds it."""
    with path.open("a") as file:
        yield _try_lock(file.fileno())


def _try_lock(descriptor: int) -> bool:
    try:
        # flock belongs to the open file, so it divides threads as well as processes; closing the file frees it.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
