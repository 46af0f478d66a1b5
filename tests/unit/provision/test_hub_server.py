"""Our test server is a hub: the client of the hub's makers finds, downloads and is refused what it should."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from hub_server import TOKEN, Hub, git_oid

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 900, "a.txt": b"a", "deep/b.txt": b"b", "c d.txt": b"c"}


@pytest.fixture
def api(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[huggingface_hub.HfApi]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    yield huggingface_hub.HfApi(endpoint=hub.url, token=False)
    huggingface_hub.close_session()


def test_listings_and_files(hub: Hub, api: huggingface_hub.HfApi, tmp_path: Path) -> None:
    commit = hub.add("org/tiny", FILES, card={"license": "mit"})
    info = api.model_info("org/tiny")
    assert (info.sha, info.card_data["license"]) == (commit, "mit")
    listed = {
        item.path: item for item in api.list_repo_tree("org/tiny", recursive=True) if isinstance(item, huggingface_hub.RepoFile)
    }
    assert set(listed) == set(FILES)
    weights = listed["model.safetensors"]
    assert weights.lfs
    assert weights.lfs.sha256 == hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    assert listed["deep/b.txt"].blob_id == git_oid(b"b")
    for name, content in FILES.items():
        path = api.hf_hub_download("org/tiny", name, cache_dir=tmp_path)
        assert Path(path).read_bytes() == content
        metadata = huggingface_hub.get_hf_file_metadata(f"{hub.url}/org/tiny/resolve/main/{quote(name)}")
        assert metadata.commit_hash == commit
        assert metadata.size == len(content)
    assert metadata.etag == git_oid(FILES["c d.txt"])


@pytest.mark.parametrize(
    ("access", "revision", "name", "error"),
    [
        ("private", "main", "config.json", RepositoryNotFoundError),
        ("gated", "main", "config.json", GatedRepoError),
        ("gated-refused", "main", "config.json", GatedRepoError),
        ("public", "gone", "config.json", RevisionNotFoundError),
        ("public", "main", "gone.json", EntryNotFoundError),
    ],
)
def test_refusals(
    hub: Hub, api: huggingface_hub.HfApi, tmp_path: Path, access: str, revision: str, name: str, error: type[Exception]
) -> None:
    hub.add("org/tiny", FILES, access=access)
    token = TOKEN if access == "gated-refused" else False
    with pytest.raises(error):
        api.hf_hub_download("org/tiny", name, revision=revision, cache_dir=tmp_path, token=token)
