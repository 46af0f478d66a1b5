"""A model that is here already: `file:///models/m.gguf`, a checkpoint's folder, an archive of one, or their plain paths."""

from __future__ import annotations

import re
from pathlib import Path

from ai_assistant.errors import SourceError, SourceNotFoundError
from ai_assistant.provision.progress import CHECKSUM, Progress
from ai_assistant.provision.sources.archive import is_archive, unpack
from ai_assistant.provision.sources.folder import LocalModel, find_model, local_model
from ai_assistant.provision.sources.source import FetchedModel, file_sha256, folder_sha256

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class FileSource:
    """Reads the files where they lie and copies nothing. Their content, not their name, is what they are remembered by."""

    def __init__(self, given: str, path: Path) -> None:
        self.given = given
        self._path = path.expanduser().absolute()
        self._sha256: str | None = None

    def pin(self, progress: Progress) -> str:
        return f"sha256:{self._checksum(progress)}"

    def fetch(self, folder: Path, progress: Progress) -> FetchedModel:
        sha256 = self._checksum(progress)
        if is_archive(self._path.name):
            model = find_model(unpack(self._path, folder, progress), str(self._path))
        else:
            model = self._model()
        return FetchedModel(model.path, self._path.as_uri(), sha256)

    def _checksum(self, progress: Progress) -> str:
        if self._sha256 is None:
            try:
                files = self._model().files
                checksums = {file.name: file_sha256(file, progress, CHECKSUM) for file in files}
            except OSError as error:
                raise SourceError(f"{error.filename or self._path} cannot be read: {error.strerror}.") from error
            self._sha256 = folder_sha256(checksums) if self._path.is_dir() and len(files) > 1 else checksums[files[0].name]
        return self._sha256

    def _model(self) -> LocalModel:
        if not self._path.exists():
            meant = f" For the repository of that name write hf://{self.given}." if _REPOSITORY.fullmatch(self.given) else ""
            raise SourceNotFoundError(f"There is no file or folder {self._path}.{meant}")
        name = self._path.name.lower()
        if self._path.is_file() and not (name.endswith(".gguf") or is_archive(name)):
            hint = " Name the folder that it lies in." if name.endswith((".safetensors", ".json")) else ""
            raise SourceError(f"{self._path} is neither a GGUF file nor an archive or a folder of a checkpoint.{hint}")
        return local_model(self._path, str(self._path))
