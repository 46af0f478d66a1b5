"""What `--precision auto` means on this machine."""

from __future__ import annotations

from typing import Literal

import onnxruntime

from ai_assistant.engine.backends.cuda_runtime import look_for_cuda
from ai_assistant.engine.device import CUDA_PRECISION, choose_kind, parse_device
from ai_assistant.provision.graph import PRECISIONS, check_precision

AUTO = "auto"
# By speed; each is exacter than the one before it, and the last is the model itself.
_CPU_ORDER = ("int8", "int8-weights", "fp32")


def precisions_to_try(precision: str, device: str) -> tuple[str, ...]:
    """The precisions to build in until one is accurate enough; `device` is as in AI_ASSISTANT_DEVICE and decides `auto` only.

    Raises ConfigurationError for what does not exist, and where a device is asked for by name that cannot be used.
    """
    if precision != AUTO:
        check_precision(precision)
        return (precision,)
    return automatic_precisions(choose_kind(parse_device(device), onnxruntime.get_available_providers(), look_for_cuda))


def automatic_precisions(kind: Literal["cpu", "cuda"]) -> tuple[str, ...]:
    """In the order in which they are tried."""
    return (CUDA_PRECISION,) if kind == "cuda" else tuple(name for name in _CPU_ORDER if name in PRECISIONS)
