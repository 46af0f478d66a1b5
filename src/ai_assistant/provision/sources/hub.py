"""A model from a hub: `hf://ORG/NAME`, with `@REVISION` and `#FILE` where they are needed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ai_assistant.errors import SourceError, SourceUnreachableError
from ai_assistant.provision.disk import require_space
from ai_assistant.provision.progress import DOWNLOAD, RESOLVE, Progress
from ai_assistant.provision.sources.download import Downloader, RemoteFile, open_client
from ai_assistant.provision.sources.hub_api import HubRepository, Note
from ai_assistant.provision.sources.hub_settings import HubSettings
from ai_assistant.provision.sources.retry import Retry
from ai_assistant.provision.sources.selection import select_files
from ai_assistant.provision.sources.source import KEPT_FOLDER, FetchedModel, folder_sha256

_FORM = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?:@(?P<revision>[^@#?\s]+))?(?:\#(?P<wanted>\S+))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubSource:
    """A checkpoint in safetensors, or one GGUF file. The commit that a branch or tag means today is what is pinned."""

    def __init__(self, given: str, rest: str, *, environment: Mapping[str, str] = os.environ, retry: Retry | None = None) -> None:
        match = _FORM.fullmatch(rest)
        if match is None:
            raise SourceError(
                f"The source {given!r} is not one of a hub; write it as hf://ORG/NAME, hf://ORG/NAME@REVISION#FILE."
            )
        self.given = given
        self._name, self._revision, self._wanted = match["name"], match["revision"] or "main", match["wanted"] or ""
        self._environment = environment
        self._retry = retry or Retry()
        self._commit = self._revision if _COMMIT.fullmatch(self._revision) else None

    def pin(self, progress: Progress) -> str:
        if self._commit is None:
            with self._repository() as (hub, _):
                progress(RESOLVE, 0, None, self._name)
                self._commit = hub.revision(self._revision, self._note(progress)).sha
        return self._pinned(self._wanted)

    def fetch(self, folder: Path, progress: Progress) -> FetchedModel:
        self.pin(progress)
        assert self._commit is not None
        with self._repository() as (hub, downloader):
            progress(RESOLVE, 0, None, self._name)
            note = self._note(progress)
            licence = hub.revision(self._commit, note).licence
            files = hub.files(self._commit, note)
            sizes = {path: file.size or 0 for path, file in files.items()}
            selection = select_files(sizes, f"{self._name} at {self._revision}", self._wanted)
            checksums = _download(downloader, {path: files[path] for path in selection.files}, folder, progress)
        kept = folder / KEPT_FOLDER
        if selection.gguf:
            name = PurePosixPath(selection.gguf).name
            return FetchedModel(kept / name, self._pinned(selection.gguf), checksums[name], licence)
        return FetchedModel(kept, self._pinned(""), folder_sha256(checksums), licence)

    def _pinned(self, wanted: str) -> str:
        return f"hf://{self._name}@{self._commit}" + (f"#{wanted}" if wanted else "")

    @contextmanager
    def _repository(self) -> Iterator[tuple[HubRepository, Downloader]]:
        settings = HubSettings.of(self._environment)
        if settings.is_offline:
            raise SourceUnreachableError(
                f"{self.given} needs the hub, but HF_HUB_OFFLINE is set and the store has no such package."
                " Build it once with a network."
            )
        headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
        with open_client(headers) as client:
            hub = HubRepository(self._name, settings, client, self._retry)
            yield hub, Downloader(client, self._retry, hub.refusal)

    def _note(self, progress: Progress) -> Note:
        return lambda text: progress(RESOLVE, 0, None, self._name, text)


def _download(downloader: Downloader, files: Mapping[str, RemoteFile], folder: Path, progress: Progress) -> dict[str, str]:
    """Brings all files here; returns their checksums by name. Progress counts all of them together."""
    total = sum(file.size or 0 for file in files.values())
    names = {path: PurePosixPath(path).name for path in files}
    here = sum(file.size or 0 for path, file in files.items() if (folder / KEPT_FOLDER / names[path]).exists())
    require_space(folder, total - here - sum(path.stat().st_size for path in folder.glob("*.partial")))
    before, checksums = 0, {}
    for path, file in files.items():

        def report(done: int, _: int | None, note: str | None, *, before: int = before, name: str = names[path]) -> None:
            progress(DOWNLOAD, before + done, total, name, note)

        _, checksums[names[path]] = downloader.fetch(file, folder, names[path], report)
        before += file.size or 0
    progress(DOWNLOAD, total, total)
    return checksums
