"""The folder that keeps model packages, each under its digest.

DIGEST/            a published package, never changed again
recipes/KEY.json   which package came out of which source and precision
tmp/KEY/           what a running build writes; of a build that died it is cleared by the next one
locks/KEY.lock     held while the recipe KEY is built
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ai_assistant.engine.model_package import DIGEST_LENGTH, ModelPackage, load_package
from ai_assistant.errors import ConfigurationError, ModelPackageError, NotFoundError
from ai_assistant.provision.disk import writing_to
from ai_assistant.provision.lock import lock_if_free, locked
from ai_assistant.provision.progress import WAIT, Progress

_DIGEST = re.compile(f"[0-9a-f]{{{DIGEST_LENGTH}}}")
_SHORTEST_PREFIX = 6
# Inside a build's folder: what another attempt may continue.
DOWNLOADS = "download"
# In the name of what was taken out of sight and waits to be deleted.
_REMOVED = ".removed."


def default_store(environment: Mapping[str, str]) -> Path:
    """AI_ASSISTANT_MODEL_STORE, or `models` in the data folder."""
    if store := environment.get("AI_ASSISTANT_MODEL_STORE"):
        return Path(store)
    if data := environment.get("AI_ASSISTANT_DATA_DIR"):
        return Path(data) / "models"
    shared = environment.get("XDG_DATA_HOME")
    return (Path(shared) if shared else Path.home() / ".local/share") / "ai-assistant" / "models"


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

    def remove(self, digest: str) -> Path:
        """Removes the package with this digest or unambiguous beginning of one."""
        matches = [stored for stored in self.packages() if stored.digest.startswith(digest)]
        if len(digest) < _SHORTEST_PREFIX:
            raise NotFoundError(f"Give at least {_SHORTEST_PREFIX} characters of the digest.")
        if not matches:
            raise NotFoundError(f"There is no package {digest} in {self.root}.")
        if len(matches) > 1:
            raise NotFoundError(f"{len(matches)} packages in {self.root} begin with {digest}; give more of the digest.")
        with writing_to(self.root):
            self._discard(matches[0].path)
        return matches[0].path

    def built_from(self, key: str) -> Path | None:
        """The whole package that the recipe led to, if there still is one."""
        try:
            digest = json.loads((self.root / "recipes" / f"{key}.json").read_text(encoding="utf-8"))["digest"]
            return load_package(self.root / _plain_digest(digest)).path
        except (OSError, ValueError, KeyError, TypeError, ModelPackageError):
            # Whatever is wrong with it, building again mends it.
            return None

    def remember(self, key: str, recipe: Mapping[str, object], digest: str) -> None:
        """Records which package the recipe led to; its workspace must still be there."""
        path = self.root / "recipes" / f"{key}.json"
        beside = self.root / "tmp" / key / "recipe.json"
        beside.write_text(json.dumps({**recipe, "digest": digest}, indent=2) + "\n", encoding="utf-8")
        _sync(beside)
        beside.replace(path)

    @contextmanager
    def building(self, key: str, progress: Progress) -> Iterator[None]:
        """Holds the recipe's lock, so that one recipe is built once however many ask for it."""
        with locked(self._lock(key), waiting=lambda: progress(WAIT, 0, None)):
            yield

    @contextmanager
    def workspace(self, key: str) -> Iterator[Path]:
        """A folder for the build that holds the lock. A failed build leaves only a download that can be continued."""
        folder = self.root / "tmp" / key
        _clear_but_downloads(folder)
        (folder / DOWNLOADS).mkdir(parents=True, exist_ok=True)
        try:
            yield folder
        except BaseException:
            _clear_but_downloads(folder)
            raise
        shutil.rmtree(folder, ignore_errors=True)

    def remove_leftovers(self, *, but: str) -> None:
        """Clears what killed builds left behind: every temporary folder whose lock is free."""
        for path in (self.root / "tmp").iterdir():
            if path.name == but:
                continue
            if _REMOVED in path.name:
                shutil.rmtree(path, ignore_errors=True)
                continue
            with lock_if_free(self._lock(path.name)) as is_free:
                if is_free:
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

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


def _plain_digest(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is not a digest")
    return digest


def _clear_but_downloads(folder: Path) -> None:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name != DOWNLOADS:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            continue
        for file in path.iterdir():
            if file.suffix != ".partial":
                shutil.rmtree(file, ignore_errors=True) if file.is_dir() else file.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
