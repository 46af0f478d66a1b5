"""What every model source can do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ai_assistant.provision.progress import Progress

_CHUNK = 1 << 22


@dataclass(frozen=True)
class FetchedModel:
    """A GGUF file on this machine: where it is, what it was exactly, and its checksum."""

    path: Path
    resolved: str
    sha256: str


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
        """Brings the model to this machine; files may be left in `folder`, whose owner clears it."""
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
