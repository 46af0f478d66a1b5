from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_server import Hub, hub_server
from unit.provision.tiny_llama import TinyLlama


@pytest.fixture(scope="session")
def tiny() -> TinyLlama:
    return TinyLlama()


@pytest.fixture(scope="session")
def tiny_gguf(tiny: TinyLlama, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server() as hub:
        yield hub
