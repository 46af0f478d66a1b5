"""One file over HTTP: continued where it broke off, even by another process, and compared with its checksum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from ai_assistant import __version__
from ai_assistant.errors import (
    AssistantError,
    ChecksumMismatchError,
    SourceError,
    SourceNotFoundError,
    SourceUnauthorizedError,
)
from ai_assistant.provision.disk import require_space
from ai_assistant.provision.sources.retry import Retry, TransientError, status_error
from ai_assistant.provision.sources.source import KEPT_FOLDER, PARTIAL_SUFFIX

# Bytes that are here, of how many (None: the server does not say), and what is being waited for.
Report = Callable[[int, int | None, str | None], None]
_REFUSALS = {401: SourceUnauthorizedError, 403: SourceUnauthorizedError, 404: SourceNotFoundError, 410: SourceNotFoundError}
# The error for an answer that is a refusal; None for "say what it says".
Refusal = Callable[[httpx.Response], AssistantError | None]

_TIMEOUT = httpx.Timeout(30.0)
_CHUNK = 1 << 22
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server and what must come of it: `sha256`, or the checksum that git has for it, which needs the size."""

    url: str
    sha256: str | None = None
    git_sha1: str | None = None
    size: int | None = None

    @property
    def key(self) -> str:
        """Names the content, so that what is left of another file is never continued."""
        return self.sha256 or f"git-{self.git_sha1}"

    @property
    def shown_url(self) -> str:
        return without_credentials(self.url)


def without_credentials(url: str) -> str:
    """The address without user name, password and query, which may be a signature: they belong into no error and no manifest."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # a password with a slash in it ends what is read as the host
    except ValueError:
        return f"{url.partition('://')[0]}://..."
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def open_client(headers: dict[str, str] | None = None) -> httpx.Client:
    """A client that follows redirects; to another host it does not carry an Authorization header along."""
    return httpx.Client(
        follow_redirects=True, timeout=_TIMEOUT, headers={"User-Agent": f"ai-assistant/{__version__}", **(headers or {})}
    )


def checked(response: httpx.Response, what: str, refusal: Refusal | None = None) -> None:
    """Raises TransientError for passing trouble and SourceError for a refusal."""
    if error := status_error(response):
        raise error
    if response.is_error:
        known = refusal(response) if refusal else None
        raise known or _REFUSALS.get(response.status_code, SourceError)(
            f"{what} cannot be downloaded: the server answers {response.status_code} {response.reason_phrase}."
        )


@dataclass(frozen=True)
class Downloader:
    """Brings files to this machine over one client."""

    client: httpx.Client
    retry: Retry
    refusal: Refusal | None = None

    def fetch(self, file: RemoteFile, folder: Path, name: str, report: Report) -> tuple[Path, str]:
        """Brings the file, whole and checked, to the kept files of `folder` as `name`; returns its path and SHA-256."""
        partial, target = folder / f"{file.key}{PARTIAL_SUFFIX}", folder / KEPT_FOLDER / name
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            # An earlier attempt's: whether it is whole, its checksum tells.
            target.rename(partial)
        if partial.exists():
            report(partial.stat().st_size, file.size, "comparing what an earlier attempt left")
        while True:
            with _PartialFile(partial, file) as part:
                continued = part.size > 0
                if not part.is_right():
                    self._complete(file, part, report)
                if part.is_right():
                    partial.rename(target)
                    return target, part.sha256
                partial.unlink()
            if not continued:
                raise ChecksumMismatchError(
                    f"{file.shown_url} has the checksum {part.checksum}, not {file.sha256 or file.git_sha1}; it is another"
                    " file or was damaged on the way. Try again; if it stays so, compare the checksum with the publisher's."
                )
            report(0, file.size, "what an earlier attempt left was damaged; starting over")

    def _complete(self, file: RemoteFile, part: _PartialFile, report: Report) -> None:
        def note(text: str) -> None:
            report(part.size, file.size, text)

        self.retry.run(file.shown_url, lambda: self._attempt(file, part, report), arrived=lambda: part.size, note=note)

    def _attempt(self, file: RemoteFile, part: _PartialFile, report: Report) -> None:
        if part.size == file.size:
            return
        headers = {"Accept-Encoding": "identity"}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
        with self.client.stream("GET", file.url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                # Nothing is left to send: the file is whole, or it is not ours; the checksum tells.
                return
            checked(response, file.shown_url, self.refusal)
            start, total = _extent(response)
            if None not in (total, file.size) and total != file.size:
                raise SourceError(
                    f"{file.shown_url} has {total} bytes on the server instead of {file.size}; it is another file, or something"
                    " on the way answers in the server's place (a proxy, a login page)."
                )
            if start != part.size:
                part.reset()
                if start:
                    raise TransientError("the server sends another part of the file than was asked for")
            total = total if file.size is None else file.size
            if total is not None:
                require_space(part.path.parent, total - part.size)
            report(part.size, total, None)
            for chunk in response.iter_raw():
                part.append(chunk)
                if total is not None and part.size > total:
                    return  # the checksum cannot be right any more
                report(part.size, total, None)
        if total is not None and part.size < total:
            raise TransientError(f"the server ended {total - part.size} bytes too early")


class _PartialFile:
    """What is here of a file, on disk and in its checksums."""

    def __init__(self, path: Path, file: RemoteFile) -> None:
        self.path = path
        self._file = file
        self._stream = path.open("a+b")
        self._forget()
        self._stream.seek(0)
        while chunk := self._stream.read(_CHUNK):
            self._count(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stream.close()

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def checksum(self) -> str:
        return self._git_sha1.hexdigest() if self._git_sha1 else self.sha256

    def is_right(self) -> bool:
        """Whether it is the whole file; writes out what is not on disk yet."""
        self._stream.flush()
        return self.checksum == (self._file.sha256 or self._file.git_sha1)

    def append(self, chunk: bytes) -> None:
        self._stream.write(chunk)
        self._count(chunk)

    def reset(self) -> None:
        self._stream.truncate(0)
        self._forget()

    def _count(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._sha256.update(chunk)
        if self._git_sha1:
            self._git_sha1.update(chunk)

    def _forget(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        # Git puts a header before what it hashes.
        header = f"blob {self._file.size}\0".encode()
        self._git_sha1 = hashlib.sha1(header, usedforsecurity=False) if self._file.git_sha1 else None


def _extent(response: httpx.Response) -> tuple[int, int | None]:
    """Where in the file the answer begins (-1: it does not say), and the size of the whole file where the server tells it."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        return -1, None
    return int(match[1]), None if match[2] == "*" else int(match[2])
