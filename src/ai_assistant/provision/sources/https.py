"""A GGUF file on a web server: `https://host/model.gguf#sha256=...`.

A broken connection is resumed; the checksum is always compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from ai_assistant.errors import ChecksumMismatchError, SourceError
from ai_assistant.provision.disk import require_space
from ai_assistant.provision.progress import DOWNLOAD, UNPACK, Progress
from ai_assistant.provision.sources.source import FetchedModel, file_sha256

_ATTEMPTS = 6
_LONGEST_PAUSE = 20.0
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_TIMEOUT = httpx.Timeout(30.0)


class HttpsSource:
    """One file, pinned by its checksum. Plain http is accepted too: the checksum protects the content."""

    def __init__(self, given: str, url: str, sha256: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.given = given
        self._url = url
        self._sha256 = sha256
        self._sleep = sleep

    def pin(self, progress: Progress) -> str:
        return f"sha256:{self._sha256}"

    def fetch(self, folder: Path, progress: Progress) -> FetchedModel:
        name = unquote(Path(urlsplit(self._url).path).name)
        path = folder / name
        # Named by checksum: what is left of another file is never continued.
        partial = folder / f"{self._sha256}.partial"
        self._download(partial, progress)
        actual = file_sha256(partial, progress, UNPACK)
        if actual != self._sha256:
            partial.unlink()
            raise ChecksumMismatchError(
                f"{self._url} has the checksum {actual}, not {self._sha256}; it is another file or was damaged on the way."
            )
        partial.rename(path)
        return FetchedModel(path, self._url, actual)

    def _download(self, partial: Path, progress: Progress) -> None:
        reason = ""
        with httpx.Client(follow_redirects=True, timeout=_TIMEOUT) as client:
            for attempt in range(_ATTEMPTS):
                if attempt:
                    self._sleep(min(2.0 ** (attempt - 1), _LONGEST_PAUSE))
                try:
                    self._attempt(client, partial, progress)
                    return
                except httpx.HTTPStatusError as error:
                    reason = f"the server answers {error.response.status_code} {error.response.reason_phrase}"
                    if error.response.status_code not in _TRANSIENT_STATUS:
                        raise SourceError(f"{self._url} cannot be downloaded: {reason}.") from error
                    last: httpx.HTTPError = error
                except httpx.HTTPError as error:
                    reason = str(error) or type(error).__name__
                    last = error
        raise SourceError(f"{self._url} cannot be downloaded after {_ATTEMPTS} attempts: {reason}.") from last

    def _attempt(self, client: httpx.Client, partial: Path, progress: Progress) -> None:
        have = partial.stat().st_size if partial.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with client.stream("GET", self._url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                # Nothing is left to send: the file is whole, or it is not ours; the checksum tells.
                return
            response.raise_for_status()
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
            done = have if resumed else 0
            length = response.headers.get("Content-Length", "")
            total = done + int(length) if length.isdigit() else None
            if total is not None:
                require_space(partial.parent, total - done)
            with partial.open("ab" if resumed else "wb") as stream:
                for chunk in response.iter_raw():
                    stream.write(chunk)
                    done += len(chunk)
                    progress(DOWNLOAD, done, total)
