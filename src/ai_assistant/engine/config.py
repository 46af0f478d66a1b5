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
    """Most prompt tokens computed in one piece; while answers run, pieces are as small as their pace demands."""

    kv_memory_bytes: int | None = None
    """Memory for keys and values of all running sequences. None: as much as all slots at full context would take, or on a GPU
    what is free there once the model is loaded."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:INDEX`, or `auto`: CUDA for a package that is made for it where it can be used."""

    prefix_reuse: bool = True
    """Keep what an ended sequence has computed in its row, and let prompts that begin alike start from there.

    Tokens that were read as part of a prompt have the same keys and values, bit for bit, as if they were read again.
    Those of an answer were computed one at a time; the next turn of the conversation goes on from exactly the numbers
    that the conversation has had so far. Reading them as a prompt gives other last bits, and with int8 another draw of its
    rounding noise, so a worker that has the row and one that has not may choose other words in that next turn; each
    of them repeats itself. A sequence that continues a known answer uses only tokens that were read as a prompt.
    """

    park_seconds: float = 300.0
    """How long a row is kept after its last use. It goes earlier when somebody needs its slot or its memory."""

    def __post_init__(self) -> None:
        parse_device(self.device)
        for name in ("num_slots", "max_context", "prefill_chunk", "kv_memory_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} is {value}; it must be at least 1.")
        # Fewer could not avoid to leave a lone last token, which would be computed by the decode kernels.
        if self.prefill_chunk < 3:
            raise ConfigurationError("prefill_chunk must be at least 3.")
        if self.park_seconds < 0:
            raise ConfigurationError("park_seconds must not be negative; prefix_reuse=False keeps no rows at all.")
