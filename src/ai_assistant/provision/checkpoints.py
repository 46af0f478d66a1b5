"""Opens a model's files as a `Checkpoint`, whichever format they are in."""

from __future__ import annotations

from pathlib import Path

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.checkpoint import Checkpoint
from ai_assistant.provision.checkpoint_json import CONFIG_FILE
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint
from ai_assistant.provision.safetensors_checkpoint import SafetensorsCheckpoint


def open_checkpoint(path: Path) -> Checkpoint:
    """The model in a GGUF file, or in a folder with config.json, safetensors and a tokenizer.

    Raises UnsupportedModelError for what this release cannot convert and ModelPackageError for what is damaged.
    """
    if path.is_dir():
        return _open_folder(path)
    if path.suffix == ".safetensors":
        raise UnsupportedModelError(
            f"{path.name} is not a whole model: name the folder that holds it, its {CONFIG_FILE} and its tokenizer."
        )
    return GgufCheckpoint(path)


def _open_folder(folder: Path) -> Checkpoint:
    if (folder / CONFIG_FILE).exists():
        return SafetensorsCheckpoint(folder)
    if ggufs := sorted(folder.glob("*.gguf")):
        raise UnsupportedModelError(f"{folder} has no {CONFIG_FILE} but GGUF files; name one of them, such as {ggufs[0].name}.")
    raise ModelPackageError(f"{folder} is not a model: it has no {CONFIG_FILE}.")
