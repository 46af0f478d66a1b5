"""Builds that are killed, that fill the disk, or that run twice: nothing half is visible, and the next one goes on."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ai_assistant.engine.model_package import load_package
from ai_assistant.errors import NoSpaceError, SourceUnreachableError
from ai_assistant.provision.build import build_package
from ai_assistant.provision.cli import model_app
from ai_assistant.provision.store import ModelStore
from hub_server import Fault, Hub
from unit.provision.tiny_llama import TinyLlama

SOURCE, FILE = "hf://org/tiny", "tiny.gguf"


@pytest.fixture
def model(hub: Hub, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The content of the one file of the hub's one repository."""
    content = tiny_gguf.read_bytes()
    hub.add("org/tiny", {FILE: content, "README.md": b""})
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    return content


def start(store: Path, *, then: str = "") -> subprocess.Popen[str]:
    """A build in a process of its own; `then` runs at each report of progress."""
    program = f"""
import os, signal, sys
from pathlib import Path
from ai_assistant.provision.build import build_package
from ai_assistant.provision.progress import JsonLinesView

with JsonLinesView(sys.stderr, interval=0) as view:
    def progress(stage, done, total, file=None, note=None):
        view(stage, done, total, file, note)
        {then or "pass"}
    print(build_package({SOURCE!r}, store=Path({str(store)!r}), progress=progress))
"""
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def visible(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir())


def left_over(store: Path) -> list[Path]:
    return [path for path in (store / "tmp").rglob("*") if path.is_file()]


def test_a_download_that_was_killed_goes_on(hub: Hub, model: bytes, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn:", stall=200_000)]
    killed = start(tmp_path)
    wait_until(lambda: sum(path.stat().st_size for path in (tmp_path / "tmp").rglob("*.partial")) > 100_000)
    kill(killed)
    assert visible(tmp_path) == ["locks", "recipes", "tmp"]
    package = load_package(build_package(SOURCE, store=tmp_path), verify=True)
    first, second = hub.downloads(FILE)
    assert (first.start, 100_000 < second.start <= 200_000) == (0, True)
    commit = hub.repositories["org/tiny"].branches["main"]
    assert package.manifest.source.resolved == f"hf://org/tiny@{commit}#{FILE}"
    assert left_over(tmp_path) == []
    # The same commit is not built again, whatever it is called.
    assert build_package(f"{SOURCE}@{commit}", store=tmp_path) == package.path
    assert len(hub.downloads(FILE)) == 2


@pytest.mark.parametrize("stage", ["convert", "verify"])
def test_a_build_that_was_killed_downloads_nothing_again(hub: Hub, model: bytes, tmp_path: Path, stage: str) -> None:
    killed = start(tmp_path, then=f"stage == {stage!r} and os.kill(os.getpid(), signal.SIGKILL)")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert visible(tmp_path) == ["locks", "recipes", "tmp"]
    # Another precision of the same source goes on with the same file.
    path = build_package(SOURCE, precision="int8", store=tmp_path)
    load_package(path, verify=True)
    assert len(hub.downloads(FILE)) == 1


def test_two_processes_build_once(hub: Hub, model: bytes, tmp_path: Path) -> None:
    hub.faults = [Fault("cdn:", stall=200_000)]
    first = start(tmp_path)
    wait_until(lambda: hub.downloads(FILE))
    second = start(tmp_path)
    assert second.stderr is not None
    lines = []
    while not lines or json.loads(lines[-1])["stage"] != "wait":
        lines.append(second.stderr.readline())
    hub.go.set()
    outputs = [process.communicate(timeout=30) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    (path,) = {output for output, _ in outputs}
    load_package(path.strip(), verify=True)
    stages = {json.loads(line)["stage"] for line in [*lines, *outputs[1][1].splitlines()]}
    assert stages == {"resolve", "wait"}
    assert len(hub.downloads(FILE)) == 1


def test_a_disk_that_fills_up_in_mid_download(hub: Hub, model: bytes, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
    try:
        with pytest.raises(NoSpaceError, match=f"The disk of {tmp_path} is full; free some space or choose another folder"):
            build_package(SOURCE, store=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert visible(tmp_path) == ["locks", "recipes", "tmp"]
    load_package(build_package(SOURCE, store=tmp_path), verify=True)
    assert [request.start for request in hub.downloads(FILE)] == [0, 150_000]


def test_old_downloads_are_cleared_by_another_build(hub: Hub, model: bytes, tiny_gguf: Path, tmp_path: Path) -> None:
    hub.repositories["org/tiny"].commit({FILE: model[:200_000]})
    assert CliRunner().invoke(model_app, ["build", SOURCE, "--store", str(tmp_path)]).exit_code == 1
    (kept,) = left_over(tmp_path)
    build_package(str(tiny_gguf), store=tmp_path)
    assert left_over(tmp_path) == [kept]
    week_ago = time.time() - 8 * 24 * 3600
    for path in [kept, *kept.parents][: len(kept.relative_to(tmp_path / "tmp").parts)]:
        os.utime(path, (week_ago, week_ago))
    ModelStore(tmp_path).remove_leftovers(but="none")
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("variable", [("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", "http://no-such-host.invalid")])
def test_a_worker_starts_again_without_the_hub(
    hub: Hub, model: bytes, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]
) -> None:
    build_package(SOURCE, store=tmp_path)
    hub.repositories["org/tiny"].commit({FILE: TinyLlama(seed=9).write_gguf(tmp_path / "newer.gguf").read_bytes()})
    package = build_package(SOURCE, store=tmp_path)
    monkeypatch.setenv(*variable)
    reports: list[tuple[object, ...]] = []
    assert build_package(SOURCE, store=tmp_path, progress=lambda *values: reports.append(values)) == package
    assert str(reports[-1][4]).endswith(f"Taking what was built of {SOURCE} before.")
    with pytest.raises(SourceUnreachableError):
        build_package(SOURCE, precision="int8", store=tmp_path)


# What a person sees


BROKEN: dict[str, tuple[str, Callable[[Hub, bytes], object], str]] = {
    "repository": (SOURCE + "x", lambda hub, model: None, "has no public model org/tinyx: check the name"),
    "revision": (SOURCE + "@v9", lambda hub, model: None, "no branch, tag or commit of this name"),
    "gated": (SOURCE, lambda hub, model: setattr(hub.repositories["org/tiny"], "access", "gated"), "is gated: accept its terms"),
    "truncated": (
        SOURCE,
        lambda hub, model: hub.repositories["org/tiny"].commit({FILE: model[:200_000]}),
        "is truncated or damaged",
    ),
    "damaged": (SOURCE, lambda hub, model: hub.faults.append(Fault("cdn:", damage=True)), "or was damaged on the way"),
    "length": (SOURCE, lambda hub, model: hub.faults.append(Fault("cdn:", content_length=7)), "has 7 bytes on the server"),
    "busy": (
        SOURCE,
        lambda hub, model: hub.faults.append(Fault("/api/", status=429, headers={"Retry-After": "3600"})),
        "429 Too Many Requests; try again in 60 minutes",
    ),
    "host": ("https://no-such-host.invalid/m.gguf#sha256=" + "0" * 64, lambda hub, model: None, "there is no such host"),
    "scheme": ("ftp://host/m.gguf", lambda hub, model: None, "unknown scheme"),
}


@pytest.mark.parametrize(("source", "breaks", "sentence"), BROKEN.values(), ids=BROKEN.keys())
def test_one_sentence_and_nothing_half(
    hub: Hub, model: bytes, tmp_path: Path, source: str, breaks: Callable[[Hub, bytes], object], sentence: str
) -> None:
    breaks(hub, model)
    store = tmp_path / "store"
    result = CliRunner().invoke(model_app, ["build", source, "--store", str(store)])
    *progress, error = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, "")
    assert error.startswith("error: ")
    assert sentence in error
    assert all("stage" in json.loads(line) for line in progress)
    assert not store.exists() or (visible(store) == ["locks", "recipes", "tmp"] and not any((store / "recipes").iterdir()))
