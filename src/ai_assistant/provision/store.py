"""The folder that keeps model packages, each under its digest.

DIGEST/            a published package, never changed again
recipes/KEY.json   which package came out of which source and precision
tmp/KEY/           what a running build writes; of a build that died it is cleared by the next one
tmp/download-PIN/  what has arrived of a source; kept after a failure, for another build of any precision to go on with
locks/             one lock for each of the two, held while it is worked on
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ai_assistant.engine.model_package import DIGEST_LENGTH, ModelPackage, is_held, load_package
from ai_assistant.errors import ConfigurationError, InvalidRequestError, ModelPackageError, NotFoundError, PackageInUseError
from ai_assistant.provision.disk import writing_to
from ai_assistant.provision.lock import lock_if_free, locked
from ai_assistant.provision.progress import WAIT, Progress
from ai_assistant.provision.sources.source import KEPT_FOLDER, PARTIAL_SUFFIX

_DIGEST = re.compile(f"[0-9a-f]{{{DIGEST_LENGTH}}}")
_SHORTEST_PREFIX = 6
# What can only be meant as a digest, not as a folder.
DIGEST_BEGINNING = re.compile(f"[0-9a-f]{{1,{DIGEST_LENGTH}}}")
# Before the name of a folder of downloads, and how long one is kept that nobody goes on with.
_DOWNLOAD = "download-"
_DOWNLOAD_SECONDS = 7 * 24 * 3600.0
# In the name of what was taken out of sight and waits to be deleted.
_REMOVED = ".removed."


@dataclass(frozen=True)
class StoredPackage:
    """A folder that is named like a package; `problem` says why it is not a whole one."""

    digest: str
    path: Path
    package: ModelPackage | None
    problem: str | None = None


class ModelStore:
    """The packages under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()

    def prepare(self) -> None:
        """Makes the folders; raises ConfigurationError where that is not allowed."""
        with writing_to(self.root):
            try:
                for name in ("recipes", "tmp", "locks"):
                    (self.root / name).mkdir(parents=True, exist_ok=True)
            except FileExistsError as error:
                raise ConfigurationError(f"{self.root} is not a folder; choose another one with --store.") from error
            if not os.access(self.root / "tmp", os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def packages(self) -> list[StoredPackage]:
        """All packages, broken ones included, by digest."""
        if not self.root.is_dir():
            return []
        return [_stored(path) for path in sorted(self.root.iterdir()) if _DIGEST.fullmatch(path.name)]

    def find(self, digest: str) -> Path:
        """The package with this digest or unambiguous beginning of one. Raises NotFoundError."""
        matches = [stored for stored in self.packages() if stored.digest.startswith(digest)]
        if len(digest) < _SHORTEST_PREFIX:
            raise NotFoundError(f"Give at least {_SHORTEST_PREFIX} characters of the digest.")
        if not matches:
            raise NotFoundError(f"There is no package {digest} in {self.root}; `ai-assistant model list` shows what there is.")
        if len(matches) > 1:
            raise NotFoundError(f"{len(matches)} packages in {self.root} begin with {digest}; give more of the digest.")
        return matches[0].path

    def remove(self, digest: str, *, force: bool = False) -> Path:
        """Removes the package that `find` finds; raises PackageInUseError while a worker of this machine has it open."""
        path = self.find(digest)
        if not force and is_held(path):
            raise PackageInUseError(
                f"A running worker uses {path}; stop it first, or remove the package all the same with --force."
            )
        with writing_to(self.root):
            self._discard(path)
        return path

    def prune(self, keep: Collection[str], min_age: float) -> list[str]:
        """Removes every package but those to keep, those in use, and those built or asked for in the last `min_age` seconds.

        Returns the digests. Raises InvalidRequestError for one to keep that is not a whole digest, before anything is removed.
        """
        for digest in keep:
            if not _DIGEST.fullmatch(digest):
                raise InvalidRequestError(f"{digest!r} is not a whole digest of {DIGEST_LENGTH} digits; nothing was removed.")
        removed = []
        with writing_to(self.root):
            for stored in self.packages():
                # Asked right before the removal: a build that finds the package meanwhile makes it young again.
                if stored.digest not in keep and not is_held(stored.path) and _seconds_since_asked_for(stored.path) >= min_age:
                    self._discard(stored.path)
                    removed.append(stored.digest)
        return removed

    def built_from(self, key: str) -> Path | None:
        """The whole package that the recipe led to, if there still is one; it counts as new again for `prune`."""
        try:
            digest = json.loads((self.root / "recipes" / f"{key}.json").read_text(encoding="utf-8"))["digest"]
            path = load_package(self.root / _plain_digest(digest)).path
            with suppress(OSError):  # a store that may only be read is not pruned either
                os.utime(path)
            return path
        except (OSError, ValueError, KeyError, TypeError, ModelPackageError):
            # Whatever is wrong with it, building again mends it.
            return None

    def last_built(self, given: str, recipe: Mapping[str, object]) -> Path | None:
        """The whole package last built of a source that was written as `given`, whatever that meant then, by such a recipe."""
        wanted = _without_content({**recipe, "given": given})
        found: list[tuple[float, str]] = []
        for path in (self.root / "recipes").glob("*.json"):
            with suppress(OSError, ValueError, AttributeError):
                # Compared whole: a key that only one of them has means another recipe.
                if wanted == _without_content(json.loads(path.read_text(encoding="utf-8"))):
                    found.append((path.stat().st_mtime, path.stem))
        return next((package for _, key in sorted(found, reverse=True) if (package := self.built_from(key))), None)

    def remember(self, key: str, recipe: Mapping[str, object], digest: str, *, given: str) -> None:
        """Records which package the recipe led to and how its source was written; its workspace must still be there."""
        path = self.root / "recipes" / f"{key}.json"
        beside = self.root / "tmp" / key / "recipe.json"
        beside.write_text(json.dumps({**recipe, "given": given, "digest": digest}, indent=2) + "\n", encoding="utf-8")
        _sync(beside)
        beside.replace(path)

    @contextmanager
    def building(self, key: str, progress: Progress) -> Iterator[None]:
        """Holds the recipe's lock, so that one recipe is built once however many ask for it."""
        with locked(self._lock(key), waiting=lambda: progress(WAIT, 0, None)):
            yield

    @contextmanager
    def workspace(self, key: str) -> Iterator[Path]:
        """An empty folder for the build that holds the lock; nothing of it stays."""
        folder = self.root / "tmp" / key
        _delete(folder)
        folder.mkdir()
        try:
            yield folder
        finally:
            _delete(folder)

    @contextmanager
    def downloads(self, pin: str, progress: Progress) -> Iterator[Path]:
        """The folder of one source's files, held alone. After a failure it stays, so that nothing is fetched twice."""
        name = _DOWNLOAD + hashlib.sha256(pin.encode()).hexdigest()[:DIGEST_LENGTH]
        folder = self.root / "tmp" / name
        with locked(self._lock(name), waiting=lambda: progress(WAIT, 0, None)):
            folder.mkdir(exist_ok=True)
            # What another attempt was killed in the middle of.
            _clear_but_kept(folder)
            try:
                yield folder
            except BaseException:
                _clear_but_kept(folder)
                raise
            _delete(folder)

    def unfinished(self) -> list[Path]:
        """The downloads of builds that failed, were killed, or are running."""
        return sorted((self.root / "tmp").glob(f"{_DOWNLOAD}*"))

    def remove_unfinished(self) -> int:
        """Removes all downloads that no build is using; returns their bytes."""
        freed = 0
        for path in self.unfinished():
            size = folder_bytes(path)
            if self._delete_if_free(path):
                freed += size
        return freed

    def remove_leftovers(self, *, but: str) -> None:
        """Clears what killed builds left behind: every temporary folder whose lock is free, downloads once they are old."""
        for path in (self.root / "tmp").iterdir():
            if path.name == but:
                continue
            if _REMOVED in path.name:
                _delete(path)
            elif not path.name.startswith(_DOWNLOAD) or _age(path) > _DOWNLOAD_SECONDS:
                self._delete_if_free(path)

    def _delete_if_free(self, path: Path) -> bool:
        with lock_if_free(self._lock(path.name)) as is_free:
            if is_free:
                _delete(path)
            return is_free

    def publish(self, folder: Path, digest: str) -> Path:
        """Moves a finished package to its place in one step."""
        for file in folder.iterdir():
            _sync(file)
        _sync(folder)
        target = self.root / digest
        if target.exists():
            try:
                return load_package(target, verify=True).path
            except ModelPackageError:
                self._discard(target)
        try:
            folder.rename(target)
        except OSError as error:
            # Another recipe led to the same bytes and was faster.
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
        _sync(self.root)
        return target

    def _discard(self, path: Path) -> None:
        # A rename takes it out of sight at once; deleting takes time and may be cut off.
        grave = self.root / "tmp" / f"{path.name}{_REMOVED}{os.getpid()}"
        grave.parent.mkdir(exist_ok=True)
        path.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)

    def _lock(self, key: str) -> Path:
        return self.root / "locks" / f"{key}.lock"


def _stored(path: Path) -> StoredPackage:
    try:
        return StoredPackage(path.name, path, load_package(path))
    except ModelPackageError as error:
        return StoredPackage(path.name, path, None, error.message)


def _without_content(recipe: Mapping[str, object]) -> dict[str, object]:
    """What was asked for, without what a source's name meant then and what came out of it."""
    return {name: value for name, value in recipe.items() if name not in {"source", "digest"}}


def _plain_digest(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is not a digest")
    return digest


def folder_bytes(folder: Path) -> int:
    """The size of all files in a folder; those that vanish meanwhile do not count."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.lstat().st_size if path.is_file() else 0
    return size


def _seconds_since_asked_for(package: Path) -> float:
    try:
        return time.time() - package.stat().st_mtime
    except OSError:  # somebody else has just removed it
        return 0.0


def _age(folder: Path) -> float:
    """Seconds since anything arrived in a folder."""
    newest = 0.0
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):
            newest = max(newest, path.lstat().st_mtime)
    return time.time() - newest


def _clear_but_kept(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != KEPT_FOLDER and path.suffix != PARTIAL_SUFFIX:
            _delete(path)
    if not any(path.is_file() for path in folder.rglob("*")):
        _delete(folder)
        folder.mkdir()


def _delete(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
