"""A GGUF file or an archive of a checkpoint on a web server: `https://host/model.gguf#sha256=...`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ai_assistant.provision.progress import DOWNLOAD, Progress
from ai_assistant.provision.sources.archive import is_archive, unpack
from ai_assistant.provision.sources.download import Downloader, RemoteFile, open_client, without_credentials
from ai_assistant.provision.sources.folder import find_model
from ai_assistant.provision.sources.retry import Retry
from ai_assistant.provision.sources.source import FetchedModel


class HttpsSource:
    """One file, pinned by its checksum. Plain http is accepted too: the checksum protects the content."""

    def __init__(self, given: str, url: str, sha256: str, *, retry: Retry | None = None) -> None:
        self.given = without_credentials(given)
        self._file = RemoteFile(url, sha256)
        self._retry = retry or Retry()

    def pin(self, progress: Progress) -> str:
        return f"sha256:{self._file.sha256}"

    def fetch(self, folder: Path, progress: Progress) -> FetchedModel:
        name = unquote(Path(urlsplit(self._file.url).path).name)

        def report(done: int, total: int | None, note: str | None) -> None:
            progress(DOWNLOAD, done, total, name, note)

        with open_client() as client:
            path, sha256 = Downloader(client, self._retry).fetch(self._file, folder, name, report)
        model = find_model(unpack(path, folder, progress), self.given).path if is_archive(name) else path
        return FetchedModel(model, self._file.shown_url, sha256)
