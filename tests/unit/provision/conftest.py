from pathlib import Path

import pytest

from unit.provision.tiny_llama import TinyLlama


@pytest.fixture(scope="session")
def tiny() -> TinyLlama:
    return TinyLlama()


@pytest.fixture(scope="session")
def tiny_gguf(tiny: TinyLlama, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")
