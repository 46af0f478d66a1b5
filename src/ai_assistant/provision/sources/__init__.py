"""Where models come from. `parse_source` is the table of schemes; each scheme is one module."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ai_assistant.errors import SourceError, UnsupportedModelError
from ai_assistant.provision.sources.file import FileSource
from ai_assistant.provision.sources.https import HttpsSource
from ai_assistant.provision.sources.pypi import PypiSource
from ai_assistant.provision.sources.source import FetchedModel, Source

__all__ = ["FetchedModel", "Source", "parse_source"]

_FORMS = "pypi://NAME==VERSION, https://HOST/FILE.gguf#sha256=..., file:///PATH.gguf or a path to a GGUF file"
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


def parse_source(text: str) -> Source:
    """The source that `text` names; raises SourceError with what is wrong about it."""
    given = text.strip()
    if not given:
        raise SourceError(f"The model source is empty; write {_FORMS}.")
    match = _SCHEME.fullmatch(given)
    if match is None:
        return FileSource(given, _gguf_path(given, given))
    scheme, rest = match["scheme"].lower(), match["rest"]
    if scheme == "pypi":
        requirement, _, member = rest.partition("#")
        return PypiSource(given, requirement, member)
    if scheme == "file":
        return FileSource(given, _file_url_path(given))
    if scheme in {"https", "http"}:
        return _https(given)
    if scheme == "hf":
        raise UnsupportedModelError(
            f"{given}: hf:// sources come in a later release; download a GGUF file of the model and name it as file:///PATH.gguf."
        )
    raise SourceError(f"The source {given!r} has an unknown scheme; write {_FORMS}.")


def _file_url_path(given: str) -> Path:
    parts = urlsplit(given)
    if parts.netloc not in {"", "localhost"}:
        raise SourceError(f"The source {given!r} names another machine; write file:///PATH.gguf with three slashes.")
    return _gguf_path(given, unquote(parts.path))


def _gguf_path(given: str, path: str) -> Path:
    if not path.lower().endswith(".gguf"):
        raise SourceError(f"The source {given!r} is not a GGUF file; write {_FORMS}.")
    return Path(path)


def _https(given: str) -> Source:
    parts = urlsplit(given)
    if not parts.netloc or not parts.path.lower().endswith(".gguf"):
        raise SourceError(f"The source {given!r} does not name a GGUF file; write https://HOST/FILE.gguf#sha256=...")
    match = re.fullmatch(r"sha256=([0-9A-Fa-f]{64})", parts.fragment)
    if match is None:
        raise SourceError(
            f"The source {given!r} needs the file's checksum: add #sha256= and the 64 digits that `sha256sum FILE` prints."
        )
    return HttpsSource(given, given.split("#")[0], match[1].lower())
