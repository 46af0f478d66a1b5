"""Which model an Assistant asks for, which package that has become, and which packages nobody needs any more. Pure.

A version is what was asked for: source, revision, precision. Its name stands before anything is downloaded, and names the Job.
Which package it led to, and which commit a branch meant, the Job tells; both are kept in the status, so that going back to a
version of before needs no Job.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ai_assistant_operator.names import PACKAGE_LABEL, label
from ai_assistant_operator.rollout_hash import rollout_hash

_NAME_DIGITS = 8
MIN_AGE_SECONDS = 3600.0
"""A package younger than that may be about to be used by somebody whose status does not say so yet."""


@dataclass(frozen=True)
class ModelVersion:
    """What was asked for."""

    source: str
    revision: str | None
    """Branch, tag or commit; None: what the source says, or the hub's default."""
    precision: str

    @property
    def name(self) -> str:
        """Eight digits that stay the same for the same request."""
        return rollout_hash(self.source, self.revision, self.precision)[:_NAME_DIGITS]

    def pinned(self, resolved: str | None = None) -> str:
        """The source with its revision, or with the commit that it was once resolved to."""
        revision = resolved or self.revision
        if revision is None or not self.source.startswith("hf://"):
            return self.source
        repository, _, file = self.source.partition("#")
        return f"{repository.partition('@')[0]}@{revision}" + (f"#{file}" if file else "")


@dataclass(frozen=True)
class ModelPackage:
    """A version and what the provision Job made of it."""

    version: ModelVersion
    digest: str
    path: str
    resolved: str | None = None
    """The commit that the revision meant then."""

    def to_status(self) -> dict[str, Any]:
        """As in `status.model` and `status.previousModels`."""
        status = {
            "source": self.version.source,
            "requestedRevision": self.version.revision,
            "revision": self.resolved,
            "precision": self.version.precision,
            "digest": self.digest,
            "version": self.version.name,
            "package": self.path,
        }
        return {name: value for name, value in status.items() if value is not None}


def package_of(status: Mapping[str, Any]) -> ModelPackage | None:
    """Reads one entry of the status; None for one that names no package."""
    if not (status.get("digest") and status.get("package")):
        return None
    version = ModelVersion(status.get("source", ""), status.get("requestedRevision"), status.get("precision", ""))
    return ModelPackage(version, status["digest"], status["package"], status.get("revision"))


def known_package(
    version: ModelVersion, model: Mapping[str, Any] | None, previous: Iterable[Mapping[str, Any]]
) -> ModelPackage | None:
    """The package that this version led to before, by the status; None: a Job has to build it."""
    packages = (package_of(entry) for entry in (model or {}, *previous))
    return next((package for package in packages if package is not None and package.version.name == version.name), None)


def history_after(
    current: ModelPackage | None, previous: Iterable[Mapping[str, Any]], package: ModelPackage, limit: int
) -> list[dict[str, Any]]:
    """`status.previousModels` once workers run `package`: newest first, each version once, `limit` of them at most."""
    seen = {package.version.name}
    entries = []
    for older in (current, *(package_of(entry) for entry in previous)):
        if older is not None and older.version.name not in seen:
            seen.add(older.version.name)
            entries.append(older.to_status())
    return entries[:limit]


def same_package(old: ModelPackage, digest: str, path: str, resolved: str | None) -> ModelPackage:
    """What a version leads to now, after its package was lost and built again."""
    return replace(old, digest=digest, path=path, resolved=resolved)


def kept_digests(
    statuses: Iterable[Mapping[str, Any]], pods: Iterable[dict[str, Any]], jobs: Iterable[dict[str, Any]] = ()
) -> frozenset[str]:
    """Digests that must stay in the store: all in any Assistant's status, of any pod that is there, of any Job."""
    kept: set[str] = set()
    for status in statuses:
        for entry in (status.get("model") or {}, *(status.get("previousModels") or ())):
            kept.add(entry.get("digest") or "")
    for thing in (*pods, *jobs):
        # A pod that is on its way out still answers from its package.
        if thing.get("status", {}).get("phase") not in {"Succeeded", "Failed"}:
            kept.add(label(thing, PACKAGE_LABEL) or "")
    return frozenset(kept - {""})


def collectable(ages: Mapping[str, float], kept: Iterable[str], min_age: float = MIN_AGE_SECONDS) -> tuple[str, ...]:
    """Of the packages in the store by digest, with their age in seconds, those that may go."""
    needed = set(kept)
    return tuple(sorted(digest for digest, age in ages.items() if digest not in needed and age >= min_age))
