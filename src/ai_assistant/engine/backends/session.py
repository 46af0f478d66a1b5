"""Opening a package's graph in ONNX Runtime, and its errors as ours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import onnxruntime

from ai_assistant.engine.backends.cuda_runtime import CudaError
from ai_assistant.engine.backends.environment import CPU_ENVIRONMENT
from ai_assistant.engine.device import CPU, CUDA, Device
from ai_assistant.errors import ConfigurationError, ModelError, ModelPackageError

if TYPE_CHECKING:
    from ai_assistant.engine.model_package import ModelPackage


def open_session(package: ModelPackage, threads: int | None, device: Device, *, keeps_memory: bool = True) -> Any:
    """An inference session; `threads` None: all cores that this process may run on.

    `keeps_memory`: what a run has used is kept for the next one, which suits runs that ask for the same sizes again.
    Raises ModelPackageError, and ConfigurationError where the device cannot be used.
    """
    manifest = package.manifest
    _check_version(manifest.min_onnxruntime)
    # A package may recommend switches of ONNX Runtime, and nothing else; what the owner has set wins.
    recommended = {name: value for name, value in manifest.environment.items() if name.startswith("ORT_")}
    for name, value in (CPU_ENVIRONMENT | recommended).items():
        os.environ.setdefault(name, value)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = options.enable_mem_pattern = keeps_memory
    for name, value in manifest.session_options.items():
        options.add_session_config_entry(name, value)
    providers: list[Any] = [CPU]
    if device.kind == "cuda":
        # Doubling the arena, which is the default, would take memory from keys and values.
        providers.insert(0, (CUDA, {"device_id": device.index, "arena_extend_strategy": "kSameAsRequested"}))
    try:
        session = onnxruntime.InferenceSession(str(package.graph_path), options, providers=providers, enable_fallback=0)
    except Exception as error:
        raise ModelPackageError(f"{_not_opened(package, device)} ({_first_line(error)})") from error
    if device.kind == "cuda" and CUDA not in session.get_providers():
        from ai_assistant.engine.backends.cuda_runtime import why_not_started

        raise ConfigurationError(f"CUDA cannot be used: {why_not_started()}. Or set AI_ASSISTANT_DEVICE=cpu.")
    return session


def _not_opened(package: ModelPackage, device: Device) -> str:
    runtime = f"ONNX Runtime {onnxruntime.__version__}"
    if device.kind == "cpu":
        return f"{package.graph_path} cannot be opened by {runtime}; build the package again with `ai-assistant model build`."
    size = sum(file.bytes for file in package.manifest.files.values()) // 10**6
    return (
        f"{package.graph_path} cannot be loaded by {runtime} onto CUDA device {device.index}; it needs {size} MB of the device's"
        " memory and some more to compute (nvidia-smi lists what is free)."
    )


def _check_version(needed: str) -> None:
    installed = onnxruntime.__version__
    if _release(installed) < _release(needed):
        raise ModelPackageError(
            f"The package needs ONNX Runtime {needed} or newer, and {installed} is installed; upgrade it, or build the package"
            " again with this release."
        )


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


@contextmanager
def translated(sentence: str) -> Iterator[None]:
    """ONNX Runtime's exceptions have no common class, and running out of memory is one of its own or Python's."""
    try:
        yield
    except (ModelError, CudaError):  # the latter means that the device is lost, and this process with it
        raise
    except Exception as error:
        raise ModelError(f"{sentence}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
