"""From a hub's safetensors to a package."""

from pathlib import Path

import numpy as np
import pytest

from ai_assistant.engine.model_package import load_package
from ai_assistant.provision.build import build_package
from ai_assistant.provision.graph_session import GraphSession
from hub_server import Hub
from unit.provision.tiny_checkpoint import write_checkpoint
from unit.provision.tiny_llama import TinyLlama


def test_a_checkpoint_of_a_hub_becomes_a_package(
    hub: Hub, tiny: TinyLlama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", tiny)
    commit = hub.add("org/tiny", {path.name: path.read_bytes() for path in folder.iterdir()}, card={"license": "mit"})
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    package = load_package(build_package("hf://org/tiny", store=tmp_path / "store"), verify=True)
    source = package.manifest.source
    assert (source.given, source.resolved, source.licence) == ("hf://org/tiny", f"hf://org/tiny@{commit}", "mit")
    logits = GraphSession(package.graph_path, package.manifest.architecture).logits([4, 9, 16])
    np.testing.assert_allclose(logits, tiny.logits([4, 9, 16]), atol=2e-4)
    # The same content in a folder or an archive is another source, but never another model.
    local = load_package(build_package(str(folder), store=tmp_path / "store"))
    assert local.manifest.files == package.manifest.files
