"""Turns what a full or read-only disk answers into sentences."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ai_assistant.errors import AssistantError, ConfigurationError, NoSpaceError

# EFBIG: a file size limit of the process or of the file system.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


def megabytes(size: int) -> int:
    """Whole megabytes, rounded up."""
    return -(-size // 1_000_000)


def require_space(folder: Path, needed: int) -> None:
    """Raises NoSpaceError unless the disk of `folder` has `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoSpaceError(
            f"The disk of {folder} has {free // 1_000_000} MB free, {megabytes(needed)} MB are needed;"
            " free some or choose another folder with --store."
        )


def no_space(folder: Path, needed: int | None = None) -> NoSpaceError:
    """The error for a disk that turned out to be full."""
    size = "" if needed is None else f": about {megabytes(needed)} MB are needed"
    return NoSpaceError(f"The disk of {folder} is full{size}; free some space or choose another folder with --store.")


def translated(folder: Path, error: OSError, needed: int | None = None) -> AssistantError | None:
    """The error to raise instead of `error`, or None where it is not about the disk."""
    if error.errno in _FULL:
        return no_space(folder, needed)
    if error.errno in _REFUSED:
        return ConfigurationError(
            f"{folder} cannot be written ({error.strerror}); make it writable or choose another folder with --store."
        )
    return None


@contextmanager
def writing_to(folder: Path, needed: int | None = None) -> Iterator[None]:
    """Within it, a full or unwritable `folder` raises NoSpaceError or ConfigurationError."""
    try:
        yield
    except OSError as error:
        if replacement := translated(folder, error, needed):
            raise replacement from error
        raise
