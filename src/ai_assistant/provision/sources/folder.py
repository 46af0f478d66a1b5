"""A model in a folder of this machine: which of its files count."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ai_assistant.errors import SourceError
from ai_assistant.provision.sources.selection import select_files


@dataclass(frozen=True)
class LocalModel:
    """`path` is a GGUF file or a checkpoint folder, `files` what is read of it."""

    path: Path
    files: tuple[Path, ...]


def local_model(path: Path, where: str) -> LocalModel:
    """What a path names: a GGUF file itself, or the model in a folder. Raises SourceError."""
    if path.is_file():
        return LocalModel(path, (path,))
    selection = select_files({file.name: file.stat().st_size for file in path.iterdir() if file.is_file()}, where)
    files = tuple(path / name for name in selection.files)
    return LocalModel(files[0] if selection.gguf else path, files)


def find_model(root: Path, where: str) -> LocalModel:
    """The model in `root` or in the one folder below it that holds one. Raises SourceError."""
    holding = {file.parent for file in root.rglob("*") if file.name == "config.json" or file.suffix.lower() == ".gguf"}
    # A model may have parts with a config.json of their own below it.
    highest = min((len(folder.parts) for folder in holding), default=0)
    folders = sorted(folder for folder in holding if len(folder.parts) == highest)
    if len(folders) > 1:
        names = ", ".join(str(folder.relative_to(root)) for folder in folders)
        raise SourceError(f"{where} holds several models, in {names}; pack one model alone.")
    return local_model(folders[0] if folders else root, where)
