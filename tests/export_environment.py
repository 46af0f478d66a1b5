"""The environment with torch, transformers and optimum, made once per machine and kept outside the tree (5 GB, some minutes)."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from demo_model import cache_folder

from ai_assistant.provision.lock import locked

REQUIREMENTS = Path(__file__).parents[1] / "requirements/export.txt"
VARIABLE = "AI_ASSISTANT_EXPORT_PYTHON"


@pytest.fixture(scope="session")
def export_python() -> Path:
    """Python of the environment of requirements/export.txt; AI_ASSISTANT_EXPORT_PYTHON names another one."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache_folder() / f"export-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock"), waiting=lambda: None):
        if not (folder / "complete").exists():
            _install(folder)
            (folder / "complete").touch()
    return folder / "bin/python"


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    install = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-cache-dir", "--only-binary=:all:"]
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin/python"), *install, "--require-hashes", "-r", str(REQUIREMENTS)],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"The export environment cannot be made:\n{(done.stdout + done.stderr)[-4000:]}", pytrace=False)
