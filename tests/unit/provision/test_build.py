"""Building: once per recipe, whole or not at all, and with a sentence where it cannot be."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ai_assistant.engine.model_package import Manifest, PackageSource, load_package
from ai_assistant.errors import (
    ConfigurationError,
    ExportError,
    ModelPackageError,
    ModelRejectedError,
    NoSpaceError,
    NotFoundError,
    SourceError,
)
from ai_assistant.provision import build
from ai_assistant.provision.build import build_package
from ai_assistant.provision.disk import writing_to
from ai_assistant.provision.graph_session import GraphSession
from ai_assistant.provision.store import ModelStore
from unit.provision.tiny_checkpoint import write_checkpoint
from unit.provision.tiny_llama import TinyLlama


class Stages:
    """Remembers what a build reported."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, stage: str, done: int, total: int | None, file: str | None = None, note: str | None = None) -> None:
        assert total is None or 0 <= done <= total
        self.names.append(stage)


def visible(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir())


def left_over(store: Path) -> list[str]:
    return [str(path.relative_to(store)) for path in (store / "tmp").rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def outlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with huge weights for a channel that is always zero: rounded together with them, the others are lost."""
    tiny = TinyLlama(seed=6)
    tiny.weights["embed"][:, 0] = 0
    for index in range(2):
        tiny.weights[f"{index}.o"][0] = tiny.weights[f"{index}.down"][0] = 0
        tiny.weights[f"{index}.gate"][:, 0] = tiny.weights[f"{index}.up"][:, 0] = 3000
    return tiny.write_gguf(tmp_path_factory.mktemp("outlier") / "outlier.gguf")


def test_a_package_says_all_that_a_worker_needs(tiny: TinyLlama, tiny_gguf: Path, tmp_path: Path) -> None:
    path = build_package(tiny_gguf.as_uri(), store=tmp_path)
    package = load_package(path, verify=True)
    manifest = package.manifest
    assert path == tmp_path / package.digest
    assert sorted(manifest.files) == ["chat_template.jinja", "model.onnx", "model.onnx.data", "tokenizer.json"]
    assert sorted(file.name for file in path.iterdir()) == sorted([*manifest.files, "manifest.json"])
    assert (manifest.precision, manifest.accuracy, manifest.allow_inaccurate) == ("fp32", None, False)
    assert manifest.kv_bytes_per_token == 2 * 2 * 2 * 16 * 4
    assert manifest.eos_token_ids == (2, 0)
    assert manifest.tokenizer_sha256 == manifest.files["tokenizer.json"].sha256
    assert manifest.source.given == manifest.source.resolved == tiny_gguf.as_uri()
    assert manifest.source.licence == "apache-2.0"
    assert manifest.environment == {"ORT_GQA_DISABLE_FLASH_ATTENTION": "1"}
    logits = GraphSession(package.graph_path, manifest.architecture).logits([4, 9, 16])
    np.testing.assert_allclose(logits, tiny.logits([4, 9, 16]), atol=2e-4)


def test_the_second_build_is_only_a_look(tiny_gguf: Path, tmp_path: Path) -> None:
    stages = Stages()
    first = build_package(str(tiny_gguf), store=tmp_path)
    moved = Path(shutil.copy(tiny_gguf, tmp_path / "renamed.gguf"))
    assert build_package(str(moved), store=tmp_path, progress=stages) == first
    assert set(stages.names) == {"checksum"}


def test_the_same_recipe_gives_the_same_digest_anywhere(tiny_gguf: Path, tmp_path: Path) -> None:
    names = {build_package(str(tiny_gguf), store=tmp_path / store).name for store in ("a", "b")}
    assert len(names) == 1


def test_a_damaged_package_is_built_again(tiny_gguf: Path, tmp_path: Path) -> None:
    path = build_package(str(tiny_gguf), store=tmp_path)
    (path / "model.onnx").write_bytes(b"cut")
    assert build_package(str(tiny_gguf), store=tmp_path) == path
    load_package(path, verify=True)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(("precision", "padding"), [("int8", 1), ("int8-weights", 1), ("int4", 2)])
def test_an_inexact_precision_is_measured(tiny_gguf: Path, tmp_path: Path, precision: str, padding: int) -> None:
    # 4 bits in blocks of 32 are too few for a model whose rows have 64 numbers.
    path = build_package(str(tiny_gguf), precision=precision, store=tmp_path, allow_inaccurate=precision == "int4")
    manifest = load_package(path, verify=True).manifest
    accuracy = manifest.accuracy
    assert accuracy is not None
    assert accuracy.tokens > 1000
    assert accuracy.min_top1 <= accuracy.top1 < 1 or manifest.allow_inaccurate
    assert 0 < accuracy.mean_kl <= (0.5 if manifest.allow_inaccurate else accuracy.max_mean_kl)
    assert accuracy.perplexity is not None
    assert accuracy.reference_perplexity is not None
    assert accuracy.perplexity == pytest.approx(accuracy.reference_perplexity, rel=0.3)
    assert manifest.pad_rows_to_multiple == padding


def test_an_inaccurate_package_is_published_only_on_request(outlier: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelRejectedError, match=r"agrees with fp32 on .* --allow-inaccurate"):
        build_package(str(outlier), precision="int8", store=tmp_path)
    assert visible(tmp_path) == ["locks", "recipes", "tmp"]
    assert left_over(tmp_path) == []
    path = build_package(str(outlier), precision="int8", store=tmp_path, allow_inaccurate=True)
    manifest = load_package(path).manifest
    assert manifest.allow_inaccurate
    assert manifest.accuracy is not None
    assert not manifest.accuracy.is_sufficient


def test_a_graph_that_does_not_compute_is_not_published(tmp_path: Path) -> None:
    tiny = TinyLlama(seed=7)
    tiny.weights["1.down"][0, 0] = np.nan
    with pytest.raises(ModelPackageError, match="not finite"):
        build_package(str(tiny.write_gguf(tmp_path / "m.gguf")), store=tmp_path / "store")
    assert visible(tmp_path / "store") == ["locks", "recipes", "tmp"]


@pytest.mark.parametrize("precision", ["", "fp64"])
def test_an_unknown_precision_touches_nothing(tiny_gguf: Path, tmp_path: Path, precision: str) -> None:
    with pytest.raises(ConfigurationError, match="choose auto or one of fp32, int8"):
        build_package(str(tiny_gguf), precision=precision, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_two_builders_build_once(tiny_gguf: Path, tmp_path: Path) -> None:
    """The first is held in the middle until the second has said that it waits."""
    second_waits, stages, paths = threading.Event(), {"first": Stages(), "second": Stages()}, {}
    first_writes = threading.Event()

    def first_progress(stage: str, done: int, total: int | None, *_: str | None) -> None:
        stages["first"](stage, done, total)
        if stage == "convert":
            first_writes.set()
            assert second_waits.wait(20)

    def second_progress(stage: str, done: int, total: int | None, *_: str | None) -> None:
        stages["second"](stage, done, total)
        if stage == "wait":
            second_waits.set()

    def run(name: str) -> None:
        progress = first_progress if name == "first" else second_progress
        paths[name] = build_package(str(tiny_gguf), store=tmp_path, progress=progress)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("first", "second")]
    threads[0].start()
    assert first_writes.wait(20)
    threads[1].start()
    for thread in threads:
        thread.join(30)
    assert paths["first"] == paths["second"]
    assert "convert" in stages["first"].names
    assert set(stages["second"].names) == {"checksum", "wait"}


KILLED = """
import os, signal, sys
from pathlib import Path
from ai_assistant.provision.build import build_package

def progress(stage, done, total, file=None, note=None):
    if stage == "verify":
        os.kill(os.getpid(), signal.SIGKILL)

build_package(sys.argv[1], store=Path(sys.argv[2]), progress=progress)
"""


def test_what_a_killed_build_left_is_cleared_by_the_next(tiny_gguf: Path, outlier: Path, tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tiny_gguf), str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert any("model.onnx.data" in name for name in left_over(tmp_path))
    assert visible(tmp_path) == ["locks", "recipes", "tmp"]
    build_package(str(outlier), store=tmp_path)
    assert left_over(tmp_path) == []


# Disks


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 60 kB, so that the weights do not fit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_disk_that_fills_up_is_named(tiny_gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match=rf"disk of {tmp_path} is full: about \d+ MB are needed"):
        build_package(str(tiny_gguf), store=tmp_path)
    assert left_over(tmp_path) == []
    assert visible(tmp_path) == ["locks", "recipes", "tmp"]


def test_too_little_space_is_told_before_anything_is_written(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = Stages()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 7_000_000))
    with pytest.raises(NoSpaceError, match=r"7 MB free, 33 MB are needed"):
        build_package(str(tiny_gguf), store=tmp_path, progress=stages)
    assert "convert" not in stages.names


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disks_and_quotas_are_one_thing(tmp_path: Path, number: int) -> None:
    with pytest.raises(NoSpaceError), writing_to(tmp_path):
        raise OSError(number, os.strerror(number))


def test_other_failures_of_the_system_pass_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output"), writing_to(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_store_that_cannot_be_written_is_a_setting(tiny_gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for store in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match=r"another.* --store"):
            build_package(str(tiny_gguf), store=store)


# The store


def test_packages_are_listed_and_removed(tiny_gguf: Path, outlier: Path, tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    paths = [build_package(str(model), store=tmp_path) for model in (tiny_gguf, outlier)]
    (paths[0] / "model.onnx").unlink()
    stored = {package.path: package for package in store.packages()}
    assert set(stored) == set(paths)
    assert stored[paths[0]].package is None
    assert "model.onnx is missing" in (stored[paths[0]].problem or "")
    assert store.remove(paths[0].name[:8]) == paths[0]
    assert [package.path for package in store.packages()] == [paths[1]]
    assert build_package(str(tiny_gguf), store=tmp_path) == paths[0]
    for digest, sentence in (("f" * 32, "no package"), (paths[0].name[:3], "at least 6")):
        with pytest.raises(NotFoundError, match=sentence):
            store.remove(digest)


def test_a_recipe_cannot_lead_out_of_the_store(tiny_gguf: Path, tmp_path: Path) -> None:
    path = build_package(str(tiny_gguf), store=tmp_path / "store")
    path.rename(tmp_path / "elsewhere")
    (recipe,) = (tmp_path / "store" / "recipes").iterdir()
    recipe.write_text(json.dumps({"digest": "../elsewhere"}))
    assert ModelStore(tmp_path / "store").built_from(recipe.stem) is None


def test_what_was_built_by_another_exporter_is_not_what_was_last_built(tiny_gguf: Path, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "store")
    package = build_package(str(tiny_gguf), store=store.root)
    (file,) = (store.root / "recipes").iterdir()
    recipe = json.loads(file.read_text())
    asked = {name: value for name, value in recipe.items() if name not in {"given", "digest"}}
    assert "exporter" not in asked  # it is `auto`
    assert store.last_built(str(tiny_gguf), {**asked, "source": "what it means now"}) == package
    file.write_text(json.dumps({**recipe, "exporter": "optimum"}))
    assert store.last_built(str(tiny_gguf), asked) is None
    assert store.last_built(str(tiny_gguf), {**asked, "exporter": "optimum"}) == package
    assert store.last_built("another", {**asked, "exporter": "optimum"}) is None


@pytest.mark.parametrize("card", ["---\nlicense: mit\n---\n# A model\n", None])
def test_an_exported_package_keeps_name_and_licence(
    tiny: TinyLlama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: str | None
) -> None:
    checkpoint = write_checkpoint(tmp_path / "model", tiny, config={"_name_or_path": "org/tiny"})
    if card is not None:
        (checkpoint / "README.md").write_text(card)
    sources: list[PackageSource] = []

    def check(exported: object, folder: Path, work: Path, source: PackageSource) -> Manifest:
        sources.append(source)
        raise ExportError("That is all that is asked here.")

    monkeypatch.setattr(build, "export_model", lambda *_: None)
    monkeypatch.setattr(build, "check_exported", check)
    with pytest.raises(ExportError):
        build_package(str(checkpoint), exporter="optimum", export_python=Path(sys.executable), store=tmp_path / "store")
    assert [(source.name, source.licence) for source in sources] == [("org/tiny", card and "mit")]


def test_a_missing_source_leaves_no_store(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        build_package(str(tmp_path / "gone.gguf"), store=tmp_path / "store")
    assert not (tmp_path / "store").exists()
