"""What every model source can do."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ai_assistant.provision.progress import Progress

# In the folder of a source's downloads: whole files that another attempt may use again, and parts of files.
KEPT_FOLDER = "model"
PARTIAL_SUFFIX = ".partial"
_CHUNK = 1 << 22


@dataclass(frozen=True)
class FetchedModel:
    """A model on this machine: a GGUF file or a checkpoint folder, what it was exactly, and its checksum.

    The checksum of a folder is `folder_sha256` of the files that were chosen from it.
    """

    path: Path
    resolved: str
    sha256: str
    # What the source says of the licence where the files themselves may not.
    licence: str | None = None


class Source(Protocol):
    """A place that a model comes from."""

    @property
    def given(self) -> str:
        """The source as someone wrote it."""
        ...

    def pin(self, progress: Progress) -> str:
        """A text that always means the same bytes; packages are remembered by it."""
        ...

    def fetch(self, folder: Path, progress: Progress) -> FetchedModel:
        """Brings the model to this machine.

        `folder` is for this pin alone; its owner clears it, but after a failure keeps `KEPT_FOLDER` and parts of files.
        """
        ...


def file_sha256(path: Path, progress: Progress, stage: str) -> str:
    """The checksum of a file, with progress, for such files are large."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(stage, done, total)
    return digest.hexdigest()


def folder_sha256(checksums: Mapping[str, str]) -> str:
    """One checksum of several files by name: what `sha256sum *` prints, hashed again."""
    lines = "".join(f"{checksum}  {name}\n" for name, checksum in sorted(checksums.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
