"""Opens a model's files as a `Checkpoint`, whichever format they are in."""

from __future__ import annotations

from pathlib import Path

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.checkpoint import Checkpoint
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint


def open_checkpoint(path: Path) -> Checkpoint:
    """The model in a GGUF file or in a folder with `config.json` and safetensors files.

    Raises UnsupportedModelError for what this release cannot convert and ModelPackageError for what is damaged.
    """
    if path.is_dir():
        raise UnsupportedModelError(f"{path} is a folder; checkpoints in safetensors are not supported yet.")
    if not path.exists():
        raise ModelPackageError(f"There is no model {path}.")
    return GgufCheckpoint(path)
