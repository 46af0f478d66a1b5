"""The data folder of one `ai-assistant up`: made, writable, roomy enough, and used by nobody else."""

import errno
import fcntl
import os
import shutil
from pathlib import Path

from ai_assistant.errors import ConfigurationError, NoSpaceError

RUN_BYTES = 100_000_000
"""Least free space to start at all: PostgreSQL reserves its log in pieces of 16 MB."""

FIRST_BUILD_BYTES = 1_500_000_000
"""Free space that the first start needs: download, package and database."""

FULL = (errno.ENOSPC, errno.EDQUOT)


class DataFolder:
    """Claimed from construction until `release` (or the end of this process, in whatever way)."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.logs = self.path / "logs"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = self._claim()
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _sentence(error, self.path) from error

    def require_space(self, needed: int, purpose: str, folder: Path | None = None) -> None:
        """Raise NoSpaceError unless `needed` bytes are free where `folder` is or will be."""
        place = (folder or self.path).expanduser().absolute()
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if free < needed:
            raise NoSpaceError(
                f"{purpose} needs {_megabytes(needed)} of free space in {folder or self.path}, and there are {_megabytes(free)}: "
                "free some, or set AI_ASSISTANT_DATA_DIR to a folder on another disk."
            )

    def release(self) -> None:
        os.close(self._lock)

    def _claim(self) -> int:
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(descriptor, 20).decode(errors="replace").strip()
            os.close(descriptor)
            raise ConfigurationError(
                f"Another ai-assistant{f' (pid {owner})' if owner else ''} already uses {self.path}; "
                "stop it or set AI_ASSISTANT_DATA_DIR."
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return descriptor


def _sentence(error: OSError, path: Path) -> ConfigurationError | NoSpaceError:
    if error.errno in FULL:
        return NoSpaceError(f"The disk of {path} is full: free some space or set AI_ASSISTANT_DATA_DIR to another folder.")
    reason = (error.strerror or str(error)).lower()
    return ConfigurationError(
        f"The data folder {path} cannot be used ({error.filename or path}: {reason}): "
        "allow it or set AI_ASSISTANT_DATA_DIR to another folder."
    )


def _megabytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number // 1_000_000} MB"
