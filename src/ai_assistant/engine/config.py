"""The numbers an engine is built with."""

from __future__ import annotations

from dataclasses import dataclass

from ai_assistant.engine.device import parse_device
from ai_assistant.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How much one engine may take on at a time."""

    num_slots: int = 16
    """Sequences that run at once. More raises the total speed and lowers the speed of each."""

    max_context: int | None = None
    """Tokens of prompt and answer together; never more than the model was made for. None: what the model was made for."""

    prefill_chunk: int = 256
    """Prompt tokens computed between two decode steps. Smaller: shorter pauses of running answers, slower prompts."""

    kv_memory_bytes: int | None = None
    """Memory for keys and values of all running sequences. None: as much as all slots at full context would take, or on a GPU
    what is free there once the model is loaded."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:INDEX`, or `auto`: CUDA for a package that is made for it where it can be used."""

    def __post_init__(self) -> None:
        parse_device(self.device)
        for name in ("num_slots", "max_context", "prefill_chunk", "kv_memory_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} is {value}; it must be at least 1.")
        # A lone last token would be computed by the decode kernels, so its numbers would differ from a prompt computed
        # in one piece.
        if self.prefill_chunk < 2:
            raise ConfigurationError("prefill_chunk must be at least 2.")
