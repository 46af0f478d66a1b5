"""Archives of a checkpoint: what is unpacked stays inside its folder and on the disk."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ai_assistant.errors import SourceError
from ai_assistant.provision.disk import require_space
from ai_assistant.provision.progress import UNPACK, Progress
from ai_assistant.provision.sources.selection import may_be_needed

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
_CHUNK = 1 << 20
_MOST_MEMBERS = 10_000


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(archive: Path, folder: Path, progress: Progress) -> Path:
    """Unpacks what a model may need into a new folder below `folder` and returns that.

    Raises SourceError for members that would lie outside, for links, and for a damaged archive.
    """
    target = folder / "unpacked"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    total = archive.stat().st_size
    unpacker = _unpack_zip if archive.name.lower().endswith(".zip") else _unpack_tar
    try:
        with archive.open("rb") as stream:
            # Counted on the packed side: the size of what comes out is known only at the end.
            unpacker(stream, target, lambda: progress(UNPACK, min(stream.tell(), total), total, archive.name))
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError) as error:
        raise SourceError(f"{archive.name} is not a whole archive ({error}); pack it again.") from error
    except RuntimeError as error:  # what zipfile says of a password
        raise SourceError(f"{archive.name} cannot be unpacked: {error}") from error
    return target


def _unpack_tar(stream: IO[bytes], target: Path, tick: Callable[[], None]) -> None:
    with tarfile.open(fileobj=stream, mode="r|*") as tar:
        for count, member in enumerate(tar):
            if member.isdir():
                continue
            path = _safe_path(member.name, is_plain=member.isfile(), count=count)
            if may_be_needed(path.name) and (packed := tar.extractfile(member)):
                _write(packed, member.size, target / path, tick)


def _unpack_zip(stream: IO[bytes], target: Path, tick: Callable[[], None]) -> None:
    with zipfile.ZipFile(stream) as archive:
        for count, info in enumerate(archive.infolist()):
            if info.is_dir():
                continue
            kind = info.external_attr >> 28  # the file type of a Unix mode, 0 where another system wrote the archive
            path = _safe_path(info.filename, is_plain=kind in {0, 0o10}, count=count)
            if may_be_needed(path.name):
                with archive.open(info) as packed:
                    _write(packed, info.file_size, target / path, tick)


def _safe_path(name: str, *, is_plain: bool, count: int) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise SourceError(f"The archive's member {name!r} would be written outside of its folder; do not use this archive.")
    if not is_plain:
        raise SourceError(f"The archive's member {name!r} is a link or a device; pack plain files only (tar --dereference).")
    if count >= _MOST_MEMBERS:
        raise SourceError(f"The archive has more than {_MOST_MEMBERS} members; pack the checkpoint's folder alone.")
    return path


def _write(packed: IO[bytes], size: int, path: Path, tick: Callable[[], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    require_space(path.parent, size)
    with _new_file(path) as stream:
        while chunk := packed.read(_CHUNK):
            stream.write(chunk)
            tick()


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    try:
        stream = path.open("xb")
    except FileExistsError as error:
        raise SourceError(f"The archive holds {path.name} twice; pack it again.") from error
    with stream:
        yield stream
