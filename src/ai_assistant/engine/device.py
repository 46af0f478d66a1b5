"""Where a package's graph is computed: decided here from what is asked for, installed, built and found."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from ai_assistant.errors import ConfigurationError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
CUDA_PRECISION = "fp16"

_REQUEST = re.compile(r"(?:(?P<plain>auto|cpu|cuda)|cuda:(?P<index>\d{1,3}))")
_EXTRA = (
    "install ai-assistant with the extra `worker-cuda` into an environment of its own"
    " (onnxruntime-gpu takes the place of onnxruntime; the two must not be installed together)"
)


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What the owner asks for: `auto` is CUDA where everything for it is there, else the CPU."""

    kind: Literal["auto", "cpu", "cuda"]
    index: int = 0


@dataclass(frozen=True, slots=True)
class CudaState:
    """What a look at this machine found: usable devices, or one clause on what is missing."""

    num_devices: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """Where to compute, and a sentence for the log where its owner may have expected something else."""

    kind: Literal["cpu", "cuda"]
    index: int = 0
    note: str | None = None


THE_CPU = Device("cpu")


def parse_device(text: str) -> DeviceRequest:
    """Reads `auto`, `cpu`, `cuda` or `cuda:INDEX`; raises ConfigurationError for anything else."""
    match = _REQUEST.fullmatch(text.strip().lower())
    if match is None:
        raise ConfigurationError(f"There is no device {text!r}; choose auto, cpu, cuda or cuda:INDEX, for example cuda:0.")
    match match["plain"]:
        case "auto":
            return DeviceRequest("auto")
        case "cpu":
            return DeviceRequest("cpu")
        case _:
            return DeviceRequest("cuda", int(match["index"] or 0))


def usable_cuda(request: DeviceRequest, available: Collection[str], look: Callable[[], CudaState]) -> str | None:
    """None where the asked-for CUDA device can be used, else what is missing and what to do about it.

    `available` are the execution providers of the installed onnxruntime; `look` is called only where it has CUDA's.
    """
    if CUDA not in available:
        return f"the installed onnxruntime has no {CUDA}: {_EXTRA}"
    state = look()
    if state.problem is not None:
        return state.problem
    if request.index >= state.num_devices:
        there = "is one CUDA device" if state.num_devices == 1 else f"are {state.num_devices} CUDA devices"
        return f"there {there}, and they are counted from 0: choose cuda:{state.num_devices - 1} or a lower one"
    return None


def choose_kind(request: DeviceRequest, available: Collection[str], look: Callable[[], CudaState]) -> Literal["cpu", "cuda"]:
    """What a package should be built for; raises ConfigurationError where CUDA is asked for by name and cannot be had."""
    if request.kind == "cpu":
        return "cpu"
    missing = usable_cuda(request, available, look)
    if missing is not None and request.kind == "cuda":
        raise ConfigurationError(_cannot_use_cuda(missing))
    return "cuda" if missing is None else "cpu"


def choose_device(
    request: DeviceRequest,
    *,
    precision: str,
    providers: Collection[str],
    available: Collection[str],
    look: Callable[[], CudaState],
) -> Device:
    """The device for a package of `precision` that `providers` (of its manifest) can compute.

    Raises ConfigurationError where CUDA is asked for by name and cannot be had, or where no device can compute the package.
    """
    if request.kind == "cpu" or (request.kind == "auto" and CUDA not in providers):
        return _cpu(precision, providers, f"This {precision} package is computed slowly on the CPU; build int8 for CPUs.")
    if CUDA not in providers:
        raise ConfigurationError(
            f"The package is {precision}, which only CPUs compute: build it with --precision {CUDA_PRECISION}"
            f" (AI_ASSISTANT_PRECISION={CUDA_PRECISION}) for CUDA, or set AI_ASSISTANT_DEVICE=cpu."
        )
    missing = usable_cuda(request, available, look)
    if missing is None:
        return Device("cuda", request.index)
    if request.kind == "cuda":
        raise ConfigurationError(_cannot_use_cuda(missing))
    slow = f"This {precision} package is computed slowly on the CPU, for CUDA cannot be used: {missing}."
    return _cpu(precision, providers, slow)


def _cannot_use_cuda(missing: str) -> str:
    return f"CUDA cannot be used: {missing}. Or set AI_ASSISTANT_DEVICE=cpu."


def _cpu(precision: str, providers: Collection[str], why_slow: str) -> Device:
    if CPU not in providers:
        raise ConfigurationError(
            f"The package is {precision}, which CPUs cannot compute: build it in another precision (int8),"
            " or set AI_ASSISTANT_DEVICE=cuda."
        )
    return Device("cpu", note=why_slow) if CUDA in providers else THE_CPU
