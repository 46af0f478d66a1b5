"""Archives: a checkpoint comes out, and nothing gets anywhere else."""

import hashlib
import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from ai_assistant.errors import NoSpaceError, SourceError
from ai_assistant.provision.progress import no_progress
from ai_assistant.provision.sources import FetchedModel, parse_source

CHECKPOINT = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 100, "tokenizer.json": b"{}"}


def tar(path: Path, files: dict[str, bytes], *links: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for link in links:
            archive.addfile(link)
    return path


def zipped(path: Path, files: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def fetch(archive: Path, folder: Path) -> FetchedModel:
    folder.mkdir(exist_ok=True)
    return parse_source(str(archive)).fetch(folder, no_progress)


@pytest.mark.parametrize("pack", [tar, zipped])
@pytest.mark.parametrize("root", ["", "./", "tiny-1.0/", "deep/er/"])
def test_a_checkpoint_comes_out(tmp_path: Path, pack: object, root: str) -> None:
    assert callable(pack)
    files = {root + name: content for name, content in CHECKPOINT.items()}
    beside = {"README.md": b"read me", root + "x.py": b"", root + "part/config.json": b"{}"}
    archive = pack(tmp_path / ("a.zip" if pack is zipped else "a.tar.gz"), files | beside)
    fetched = fetch(archive, tmp_path / "work")
    assert {path.name: path.read_bytes() for path in fetched.path.iterdir() if path.is_file()} == CHECKPOINT
    assert fetched.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    # Again, as after a kill in the middle.
    assert fetch(archive, tmp_path / "work").path == fetched.path


def test_a_gguf_file_comes_out(tmp_path: Path) -> None:
    fetched = fetch(zipped(tmp_path / "a.zip", {"x/m.gguf": b"GGUF", "x/config.txt": b""}), tmp_path / "work")
    assert fetched.path.read_bytes() == b"GGUF"


@pytest.mark.parametrize("name", ["../config.json", "/config.json", "a/../../config.json", "a\\..\\config.json"])
@pytest.mark.parametrize("pack", [tar, zipped])
def test_nothing_is_written_outside(tmp_path: Path, pack: object, name: str) -> None:
    assert callable(pack)
    archive = pack(tmp_path / ("a.zip" if pack is zipped else "a.tar.gz"), {name: b"mine"})
    with pytest.raises(SourceError, match="would be written outside of its folder; do not use"):
        fetch(archive, tmp_path / "work")
    assert list(tmp_path.rglob("config.json")) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tar(tmp_path / "a.tgz", CHECKPOINT, link("generation_config.json", "/etc/passwd", kind))
    with pytest.raises(SourceError, match=r"is a link or a device; pack plain files only \(tar --dereference\)"):
        fetch(archive, tmp_path / "work")


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"config.json": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    with pytest.raises(SourceError, match="is a link or a device"):
        fetch(archive, tmp_path / "work")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_cut_archive_is_named(tmp_path: Path, name: str) -> None:
    archive = (zipped if name.endswith("zip") else tar)(tmp_path / name, CHECKPOINT)
    archive.write_bytes(archive.read_bytes()[:-600])
    with pytest.raises(SourceError, match=f"{name} is not a whole archive .* pack it again"):
        fetch(archive, tmp_path / "work")


def test_two_models_are_one_too_many(tmp_path: Path) -> None:
    files = {f"{name}/config.json": b"{}" for name in "ab"}
    with pytest.raises(SourceError, match="holds several models, in a, b; pack one model alone"):
        fetch(tar(tmp_path / "a.tar.gz", files), tmp_path / "work")


def test_the_same_file_twice(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as packed:
        for _ in range(2):
            packed.addfile(tarfile.TarInfo("config.json"), io.BytesIO())
    with pytest.raises(SourceError, match=r"holds config.json twice"):
        fetch(archive, tmp_path / "work")


def test_what_would_fill_the_disk_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member may claim any size, and a few packed bytes may become very many."""
    archive = zipped(tmp_path / "a.zip", {"config.json": b"{}", "model.safetensors": bytes(30_000_000)})
    assert archive.stat().st_size < 100_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 20_000_000))
    with pytest.raises(NoSpaceError, match="20 MB free, 30 MB are needed"):
        fetch(archive, tmp_path / "work")
