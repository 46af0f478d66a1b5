"""The files of a package as its manifest lists them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ai_assistant.engine.model_package import PackageFile


def describe_files(folder: Path) -> dict[str, PackageFile]:
    """Size and checksum of every file in `folder`, by name."""
    return {path.name: _described(path) for path in sorted(folder.iterdir())}


def _described(path: Path) -> PackageFile:
    with path.open("rb") as stream:
        return PackageFile(sha256=hashlib.file_digest(stream, "sha256").hexdigest(), bytes=path.stat().st_size)
