"""A GGUF file that is here already: `file:///models/m.gguf`, or a plain path."""

from __future__ import annotations

from pathlib import Path

from ai_assistant.errors import SourceError
from ai_assistant.provision.progress import UNPACK, Progress
from ai_assistant.provision.sources.source import FetchedModel, file_sha256


class FileSource:
    """Reads the file where it lies and copies nothing. Its content, not its name, is what it is remembered by."""

    def __init__(self, given: str, path: Path) -> None:
        self.given = given
        self._path = path.expanduser().absolute()
        self._sha256: str | None = None

    def pin(self, progress: Progress) -> str:
        return f"sha256:{self._checksum(progress)}"

    def fetch(self, folder: Path, progress: Progress) -> FetchedModel:
        return FetchedModel(self._path, self._path.as_uri(), self._checksum(progress))

    def _checksum(self, progress: Progress) -> str:
        if self._sha256 is None:
            if not self._path.is_file():
                raise SourceError(f"There is no file {self._path}.")
            try:
                self._sha256 = file_sha256(self._path, progress, UNPACK)
            except OSError as error:
                raise SourceError(f"{self._path} cannot be read: {error.strerror}.") from error
        return self._sha256
