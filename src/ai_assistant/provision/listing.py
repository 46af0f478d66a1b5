"""What a store holds, as a table for people and as records for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

from ai_assistant.engine.model_package import MANIFEST_FILE, Manifest, is_held
from ai_assistant.provision.disk import megabytes
from ai_assistant.provision.store import StoredPackage, folder_bytes

_COLUMNS = ("DIGEST", "PRECISION", "SIZE", "ACCURACY", "BUILT", "SOURCE")
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


class PackageRecord(TypedDict):
    """One package, as `ai-assistant model list --json` prints it. Of a broken one only the first five are known."""

    digest: str
    path: str
    problem: str | None
    in_use: bool
    bytes: int
    built_at: str | None
    precision: str | None
    name: str | None
    source: str | None
    resolved: str | None
    licence: str | None
    # Share of tokens on which it agrees with fp32, and how far its distribution is from that; None for what is exact.
    top1: float | None
    mean_kl: float | None
    is_accurate: bool | None


def record(stored: StoredPackage) -> PackageRecord:
    """All that is known of a package."""
    manifest = stored.package.manifest if stored.package else None
    accuracy = manifest.accuracy if manifest else None
    return PackageRecord(
        digest=stored.digest,
        path=str(stored.path),
        problem=stored.problem,
        in_use=is_held(stored.path),
        bytes=folder_bytes(stored.path),
        built_at=_built_at(stored.path),
        precision=manifest.precision if manifest else None,
        name=manifest.source.name if manifest else None,
        source=manifest.source.given if manifest else None,
        resolved=manifest.source.resolved if manifest else None,
        licence=manifest.source.licence if manifest else None,
        top1=accuracy.top1 if accuracy else None,
        mean_kl=accuracy.mean_kl if accuracy else None,
        is_accurate=_is_accurate(manifest) if manifest else None,
    )


def table(records: list[PackageRecord], now: datetime) -> list[str]:
    """The lines of a table, none for an empty store. A row begins with the digest and ends with where the model came from."""
    rows = [_COLUMNS, *(_row(record, now) for record in records)] if records else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(record: PackageRecord, now: datetime) -> tuple[str, ...]:
    size = f"{megabytes(record['bytes'])} MB"
    age = _age(record["built_at"], now) + (", in use" if record["in_use"] else "")
    if record["problem"] is not None:
        return record["digest"], "-", size, "-", age, f"broken: {record['problem']}"
    return record["digest"], record["precision"] or "-", size, _accuracy(record), age, record["source"] or "-"


def _accuracy(record: PackageRecord) -> str:
    if record["top1"] is None:
        return "exact"
    return f"{record['top1']:.1%}" + ("" if record["is_accurate"] else " (too low)")


def _is_accurate(manifest: Manifest) -> bool:
    return manifest.accuracy is None or manifest.accuracy.is_sufficient


def _age(built_at: str | None, now: datetime) -> str:
    if built_at is None:
        return "-"
    seconds = (now - datetime.fromisoformat(built_at)).total_seconds()
    return next((f"{seconds // unit:.0f} {name} ago" for unit, name in _UNITS if seconds >= unit), "just now")


def _built_at(folder: Path) -> str | None:
    """The manifest is written last and never again; its content says nothing of time, so that builds can be compared."""
    try:
        return datetime.fromtimestamp(int((folder / MANIFEST_FILE).stat().st_mtime), UTC).isoformat()
    except OSError:
        return None
