"""How much memory a model takes, and whether this machine, or the container on it, has as much."""

from __future__ import annotations

import os
from pathlib import Path

from ai_assistant.engine.device import CUDA
from ai_assistant.engine.model_package import Architecture
from ai_assistant.errors import ConfigurationError
from ai_assistant.provision.graph import execution_providers, graph_bytes, kv_bytes_per_token

# The interpreter, the runtime, the tokenizer and the activations of a step; measured with the demo model.
_PROCESS_BYTES = 250_000_000
# CUDA's own, and what the engine leaves free for activations.
_CUDA_BYTES = 1_100_000_000
# A conversation below that is not worth starting for.
SHORT_CONTEXT = 2048
_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


def bytes_to_run(architecture: Architecture, precision: str, *, is_tied: bool = False) -> int:
    """Least memory of a worker, of its GPU with a precision for CUDA: the weights and one short conversation."""
    context = min(SHORT_CONTEXT, architecture.max_positions)
    conversation = context * kv_bytes_per_token(architecture, precision)
    other = _CUDA_BYTES if execution_providers(precision)[0] == CUDA else _PROCESS_BYTES
    return graph_bytes(architecture, precision, is_tied=is_tied) + conversation + other


def bytes_to_build(architecture: Architecture, precision: str, reference: str) -> int:
    """Least memory of a build: the package is compared with the graph in the reference precision, one of them open at a time."""
    return max(graph_bytes(architecture, name) for name in (precision, reference)) + _PROCESS_BYTES


def require_memory(architecture: Architecture, precision: str, reference: str, limit: int | None) -> None:
    """Raises ConfigurationError where `limit` (bytes; None: unknown) is too little to build the model."""
    build, run = bytes_to_build(architecture, precision, reference), bytes_to_run(architecture, precision)
    if limit is None or limit >= build:
        return
    if limit >= run:
        advice = f"build it on a larger machine and copy the package here (running it takes {_gigabytes(run)})"
    else:
        advice = f"run it on a larger machine (the {precision} package takes {_gigabytes(run)} to run)"
    raise _too_large(build, limit, advice)


def require_export_memory(needed: int, limit: int | None) -> None:
    """Raises ConfigurationError where `limit` (bytes; None: unknown) is less than the `needed` bytes of an export."""
    if limit is not None and limit < needed:
        raise _too_large(needed, limit, "build it on a larger machine and copy the package here")


def _too_large(needed: int, limit: int, advice: str) -> ConfigurationError:
    return ConfigurationError(
        f"This model is too large to be built here: that takes {_gigabytes(needed)} of memory, and there are {_gigabytes(limit)}"
        f" on this machine or allowed to this container. Choose a smaller model, or {advice}."
    )


def memory_limit(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this process may come to: the machine's memory or a container's smaller limit."""
    limits = [_machine_memory()]
    for name in _CGROUP_LIMITS:
        try:
            limits.append(int((cgroup / name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or `max`
            continue
    known = [limit for limit in limits if limit]
    return min(known) if known else None


def _machine_memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
