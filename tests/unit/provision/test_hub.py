"""`hf://`: what is downloaded, what is pinned, and the sentence for everything that a hub may answer instead."""

import hashlib
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ai_assistant.errors import (
    ChecksumMismatchError,
    ConfigurationError,
    NoSpaceError,
    SourceError,
    SourceNotFoundError,
    SourceUnauthorizedError,
    SourceUnreachableError,
    UnsupportedModelError,
)
from ai_assistant.provision.progress import no_progress
from ai_assistant.provision.sources.hub import HubSource
from ai_assistant.provision.sources.hub_settings import HubSettings
from ai_assistant.provision.sources.retry import ATTEMPTS, Retry
from ai_assistant.provision.sources.source import FetchedModel, folder_sha256
from hub_server import TOKEN, Fault, Hub

WEIGHTS = {f"model-0000{number}-of-00002.safetensors": bytes([number]) + bytes(range(256)) * 2000 for number in (1, 2)}
CHECKPOINT = {
    "config.json": b'{"model_type": "llama"}',
    "generation_config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "LICENSE": b"Do what you like.",
    "model.safetensors.index.json": b"{}",
    **WEIGHTS,
}
BESIDE = {
    "README.md": b"# Tiny",
    ".gitattributes": b"",
    "pytorch_model.bin": b"pickled",
    "consolidated.safetensors": b"once more",
    "onnx/model.onnx": b"a graph",
    "tiny-Q8_0.gguf": b"GGUF",
}


@dataclass
class Fetch:
    """Fetches into one folder again and again, as attempts of one build do."""

    hub: Hub
    folder: Path
    pauses: list[float] = field(default_factory=list)
    progress: list[tuple[Any, ...]] = field(default_factory=list)

    def source(self, text: str, **environment: str) -> HubSource:
        retry = Retry(sleep=self.pauses.append, jitter=lambda: 1.0)
        return HubSource(text, text.removeprefix("hf://"), environment={**self.hub.environment, **environment}, retry=retry)

    def __call__(self, text: str = "hf://org/tiny", **environment: str) -> FetchedModel:
        return self.source(text, **environment).fetch(self.folder, lambda *values: self.progress.append(values))


@pytest.fixture
def fetch(hub: Hub, tmp_path: Path) -> Fetch:
    return Fetch(hub, tmp_path)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_checkpoint_and_nothing_beside_it(hub: Hub, fetch: Fetch) -> None:
    commit = hub.add("org/tiny", CHECKPOINT | BESIDE, card={"license": "apache-2.0"})
    fetched = fetch()
    assert content(fetched.path) == CHECKPOINT
    assert fetched.resolved == f"hf://org/tiny@{commit}"
    assert fetched.sha256 == folder_sha256({name: hashlib.sha256(data).hexdigest() for name, data in CHECKPOINT.items()})
    assert fetched.licence == "apache-2.0"
    total = sum(map(len, CHECKPOINT.values()))
    downloads = [values for values in fetch.progress if values[0] == "download"]
    assert downloads[-1][1:3] == (total, total)
    assert [done for _, done, *_ in downloads] == sorted(done for _, done, *_ in downloads)
    assert {values[3] for values in downloads if len(values) > 3} == set(CHECKPOINT)
    assert fetch.pauses == []


def test_a_branch_is_pinned_to_its_commit(hub: Hub, fetch: Fetch) -> None:
    first = hub.add("org/tiny", CHECKPOINT)
    second = hub.repositories["org/tiny"].commit(CHECKPOINT | {"config.json": b"{}"}, branch="refs/pr/1")
    pins = {
        "hf://org/tiny": f"hf://org/tiny@{first}",
        "hf://org/tiny@main": f"hf://org/tiny@{first}",
        f"hf://org/tiny@{first}": f"hf://org/tiny@{first}",
        "hf://org/tiny@refs/pr/1": f"hf://org/tiny@{second}",
        "hf://org/tiny@main#a.gguf": f"hf://org/tiny@{first}#a.gguf",
    }
    assert {text: fetch.source(text).pin(no_progress) for text in pins} == pins


def test_a_commit_is_pinned_without_asking(hub: Hub, fetch: Fetch) -> None:
    commit = hub.add("org/tiny", CHECKPOINT)
    assert fetch.source(f"hf://org/tiny@{commit}", HF_HUB_OFFLINE="1").pin(no_progress) == f"hf://org/tiny@{commit}"
    assert hub.requests == []
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set and the store has no such package"):
        fetch(f"hf://org/tiny@{commit}", HF_HUB_OFFLINE="1")
    with pytest.raises(SourceUnreachableError, match="Build it once with a network"):
        fetch("hf://org/tiny", HF_HUB_OFFLINE="1")


def test_one_gguf_file(hub: Hub, fetch: Fetch) -> None:
    commit = hub.add("org/tiny", {"deep/tiny-Q8_0.gguf": b"GGUF 8", "tiny-Q4_0.gguf": b"GGUF 4", "README.md": b""})
    fetched = fetch("hf://org/tiny")
    assert (fetched.path.name, fetched.path.read_bytes()) == ("tiny-Q8_0.gguf", b"GGUF 8")
    assert fetched.resolved == f"hf://org/tiny@{commit}#deep/tiny-Q8_0.gguf"
    assert fetched.sha256 == hashlib.sha256(b"GGUF 8").hexdigest()
    assert fetch("hf://org/tiny#*Q4*").path.read_bytes() == b"GGUF 4"


def test_a_mirror_answers_in_the_place_of_the_hub(hub: Hub, fetch: Fetch) -> None:
    hub.add("org/tiny", CHECKPOINT)
    hub.links_to = "http://elsewhere.invalid"
    assert content(fetch().path) == CHECKPOINT


# Who may read


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: Hub, fetch: Fetch) -> None:
    hub.add("org/tiny", CHECKPOINT, access="gated")
    assert content(fetch(HF_TOKEN=TOKEN).path) == CHECKPOINT
    sent = {request.is_cdn: request.headers.get("authorization") for request in hub.requests}
    assert sent == {False: f"Bearer {TOKEN}", True: None}


@pytest.mark.parametrize(
    ("access", "token", "error", "sentence"),
    [
        (
            "gated",
            None,
            SourceUnauthorizedError,
            r"org/tiny is gated: accept its terms at http://\S+/org/tiny, make a token .* set HF_TOKEN",
        ),
        (
            "gated-refused",
            TOKEN,
            SourceUnauthorizedError,
            r"the account of HF_TOKEN has no access yet: accept its terms at http://\S+/org/tiny",
        ),
        (
            "private",
            None,
            SourceNotFoundError,
            "has no public model org/tiny: check the name; if it is a private one, set HF_TOKEN",
        ),
        ("public", "hf_wrong", SourceUnauthorizedError, "does not accept the token in HF_TOKEN; make a new one"),
    ],
)
def test_who_may_not_read_is_told_what_to_do(
    hub: Hub, fetch: Fetch, access: str, token: str | None, error: type[SourceError], sentence: str
) -> None:
    hub.add("org/tiny", CHECKPOINT, access=access)
    with pytest.raises(error, match=sentence) as caught:
        fetch(**({"HF_TOKEN": token} if token else {}))
    assert TOKEN not in caught.value.message
    assert fetch.pauses == []


def test_the_token_that_was_saved_by_a_login_is_used(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_saved\n")
    assert HubSettings.of({"HF_HOME": str(tmp_path)}).token == "hf_saved"
    assert HubSettings.of({"HF_HOME": str(tmp_path), "HF_TOKEN": " hf_given\n"}).token == "hf_given"
    assert HubSettings.of({"HF_HOME": str(tmp_path / "none")}) == HubSettings("https://huggingface.co", None, False)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [("HF_ENDPOINT", "hub.example", "write it as https://HOST"), ("HF_TOKEN", "hf_ключ", "copy it again")],
)
def test_settings_that_cannot_be_used(name: str, value: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        HubSettings.of({name: value})


# What is not there


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hf://org/other", "has no public model org/other: check the name"),
        ("hf://org/tiny@v9", "org/tiny has no branch, tag or commit of this name"),
        ("hf://org/tiny@" + "a" * 40, "org/tiny has no branch, tag or commit of this name"),
        ("hf://org/tiny#gone.gguf", r"no model file gone.gguf: there are tiny-Q8_0.gguf \(1 MB\)"),
    ],
)
def test_what_is_not_there(hub: Hub, fetch: Fetch, text: str, sentence: str) -> None:
    hub.add("org/tiny", CHECKPOINT | BESIDE)
    with pytest.raises(SourceNotFoundError, match=sentence):
        fetch(text)
    assert fetch.pauses == []


def test_a_repository_that_cannot_be_used_costs_no_download(hub: Hub, fetch: Fetch) -> None:
    hub.add("org/tiny", {"config.json": b"{}", "pytorch_model.bin": b"pickled"})
    with pytest.raises(UnsupportedModelError, match="pickled PyTorch files, which can run any code"):
        fetch()
    assert not any("/resolve/" in request.path for request in hub.requests)


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"[]", b'{"sha": "../../x"}'])
def test_something_else_answers(hub: Hub, fetch: Fetch, body: bytes) -> None:
    hub.add("org/tiny", CHECKPOINT)
    hub.faults = [Fault("/api/", status=200, body=body)]
    with pytest.raises(SourceError, match="does not answer like a model hub; check HF_ENDPOINT"):
        fetch()


def test_a_password_in_the_endpoint_is_told_to_nobody(hub: Hub, fetch: Fetch) -> None:
    endpoint = hub.url.replace("http://", "http://user:p@ss@")
    hub.add("org/tiny", CHECKPOINT)
    with pytest.raises(SourceError, match=rf"^{re.escape(hub.url)} does not accept the token in HF_TOKEN; make a new one at"):
        fetch(HF_ENDPOINT=endpoint)
    hub.faults = [Fault("/api/", status=200, body=b"[]")]
    with pytest.raises(SourceError, match=rf"^{re.escape(hub.url)} does not answer like"):
        fetch(HF_ENDPOINT=endpoint)
    with pytest.raises(ConfigurationError, match=r"HF_ENDPOINT is 'ftp://hub'"):
        HubSettings.of({"HF_ENDPOINT": "ftp://user:secret@hub"})


def test_nobody_answers(fetch: Fetch, hub: Hub) -> None:
    with pytest.raises(SourceError, match=f"refused.*, {ATTEMPTS} times in a row. Try again later"):
        fetch(HF_ENDPOINT="http://127.0.0.1:9")
    assert len(fetch.pauses) == ATTEMPTS - 1
    with pytest.raises(SourceError, match="there is no such host; check the name and the network"):
        fetch(HF_ENDPOINT="http://no-such-host.invalid")


# Trouble on the way


def test_a_download_goes_on_where_it_broke_however_often(hub: Hub, fetch: Fetch) -> None:
    hub.add("org/tiny", CHECKPOINT)
    hub.faults = [Fault("cdn:", times=2 * ATTEMPTS, cut=40_000)]
    assert content(fetch().path) == CHECKPOINT
    starts = [request.start for request in hub.downloads("model-00001-of-00002.safetensors")]
    assert len(starts) > ATTEMPTS
    assert starts == sorted(set(starts))
    # Every byte that arrives starts the count anew, so the pauses do not grow.
    assert set(fetch.pauses) == {1.0}
    notes = [values[4] for values in fetch.progress if len(values) > 4 and values[4]]
    assert all(note.endswith("trying again in 1 s") for note in notes)


def test_a_busy_hub_is_asked_again_when_it_says(hub: Hub, fetch: Fetch) -> None:
    hub.add("org/tiny", CHECKPOINT)
    hub.faults = [
        Fault("/revision/", status=429, headers={"Retry-After": "7"}),
        Fault("/tree/", status=429, headers={"RateLimit": '"api";r=0;t=33'}),
        Fault("config.json", status=503, headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        Fault("cdn:", status=500, times=3),
    ]
    assert content(fetch().path) == CHECKPOINT
    assert fetch.pauses == [8.0, 34.0, 1.0, 1.0, 2.0, 4.0]


def test_a_storm_of_errors_ends(hub: Hub, fetch: Fetch) -> None:
    hub.add("org/tiny", CHECKPOINT)
    hub.faults = [Fault("00002-of-00002", times=99, status=503)]
    with pytest.raises(SourceError, match=f"the server answers 503 Service Unavailable, {ATTEMPTS} times in a row"):
        fetch()
    assert fetch.pauses == [1, 2, 4, 8, 16, 30, 30]
    hub.faults.clear()
    hub.requests.clear()
    assert content(fetch().path) == CHECKPOINT
    # What had arrived is not asked for again.
    assert hub.downloads("model-00001-of-00002.safetensors") == hub.downloads("config.json") == []


def test_a_hub_that_wants_hours_is_left_alone(hub: Hub, fetch: Fetch) -> None:
    hub.faults = [Fault("/api/", status=429, headers={"Retry-After": "7200"})]
    with pytest.raises(SourceError, match="try again in 2 hours"):
        fetch()


@pytest.mark.parametrize("name", ["config.json", "model-00001-of-00002.safetensors"])
def test_damaged_content_is_refused_and_not_kept(hub: Hub, fetch: Fetch, tmp_path: Path, name: str) -> None:
    hub.add("org/tiny", CHECKPOINT)
    hub.faults = [Fault(f"cdn:/org/tiny/{hub.repositories['org/tiny'].branches['main']}/{name}", damage=True)]
    if name == "config.json":
        hub.faults = [Fault(name, damage=True)]
    with pytest.raises(ChecksumMismatchError, match=rf"/{name} has the checksum \w+, not \w+; it is another file"):
        fetch()
    assert not (tmp_path / "model" / name).exists()
    assert list(tmp_path.glob("*.partial")) == []
    assert content(fetch().path) == CHECKPOINT


def test_a_damaged_part_is_started_over(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    hub.add("org/tiny", CHECKPOINT)
    name = "model-00001-of-00002.safetensors"
    (tmp_path / f"{hashlib.sha256(WEIGHTS[name]).hexdigest()}.partial").write_bytes(b"x" * 1000)
    assert content(fetch().path) == CHECKPOINT
    assert [request.start for request in hub.downloads(name)] == [1000, 0]


@pytest.mark.parametrize("length", [1000, 512_001 + 1000])
def test_another_length_than_the_listing_says(hub: Hub, fetch: Fetch, length: int) -> None:
    commit = hub.add("org/tiny", CHECKPOINT)
    hub.faults = [Fault(f"cdn:/org/tiny/{commit}/model", content_length=length)]
    with pytest.raises(
        SourceError, match=f"has {length} bytes on the server instead of 512001; it is another file, or something"
    ):
        fetch()
    assert content(fetch().path) == CHECKPOINT


def test_a_login_page_in_mid_download_costs_nothing_that_is_here(hub: Hub, fetch: Fetch) -> None:
    commit = hub.add("org/tiny", CHECKPOINT)
    name = "model-00001-of-00002.safetensors"
    on_cdn = f"cdn:/org/tiny/{commit}/{name}"
    hub.faults = [Fault(on_cdn, cut=40_000), Fault(on_cdn, status=200, body=b"Log in")]
    with pytest.raises(SourceError, match="a proxy, a login page"):
        fetch()
    assert content(fetch().path) == CHECKPOINT
    assert [request.start for request in hub.downloads(name)] == [0, 40_000, 40_000]


@pytest.mark.parametrize("headers", [{}, {"Content-Range": "bytes 7-9/512001"}])
def test_a_server_that_sends_another_part_is_not_believed(hub: Hub, fetch: Fetch, headers: dict[str, str]) -> None:
    weights = f"cdn:/org/tiny/{hub.add('org/tiny', CHECKPOINT)}/model"
    hub.faults = [Fault(weights, cut=40_000), Fault(weights, status=206, headers=headers, body=b"abc")]
    assert content(fetch().path) == CHECKPOINT


def test_a_server_without_ranges_starts_over(hub: Hub, fetch: Fetch) -> None:
    hub.add("org/tiny", CHECKPOINT)
    hub.faults = [Fault("cdn:", cut=40_000), Fault("cdn:", whole=True, times=99)]
    assert content(fetch().path) == CHECKPOINT


def test_a_server_that_always_breaks_at_the_same_byte_is_given_up(hub: Hub, fetch: Fetch) -> None:
    hub.add("org/tiny", CHECKPOINT)
    hub.faults = [Fault("cdn:", cut=40_000, whole=True, times=99)]
    with pytest.raises(SourceError, match=f"{ATTEMPTS} times in a row. What has arrived is kept; run the same command again"):
        fetch()


# Disks


def test_too_little_space_is_told_before_the_first_file(hub: Hub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/tiny", CHECKPOINT)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1_000_000))
    with pytest.raises(NoSpaceError, match="1 MB free, 2 MB are needed"):
        fetch()
    assert not any("/resolve/" in request.path for request in hub.requests)
