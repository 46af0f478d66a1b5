"""Model runners by the contract of a package's graph. A new kind of graph or device is a module here and a line in the table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ai_assistant.engine.device import Device, choose_device, parse_device
from ai_assistant.errors import UnsupportedModelError

if TYPE_CHECKING:
    from ai_assistant.engine.config import EngineConfig
    from ai_assistant.engine.model_package import ModelPackage
    from ai_assistant.engine.model_runner import ModelRunner

logger = logging.getLogger(__name__)

RunnerFactory = Callable[["ModelPackage", "EngineConfig", "int | None"], "ModelRunner"]


def load_runner(package: ModelPackage, config: EngineConfig, threads: int | None = None) -> ModelRunner:
    """Open the graph of a package; `threads` are the cores one step may use, None: all that this process may run on."""
    contract = package.manifest.graph_contract
    factory = BACKENDS.get(contract)
    if factory is None:
        raise UnsupportedModelError(
            f"{package.path} has a graph of the kind {contract!r}, which this release cannot run; "
            f"it runs {', '.join(sorted(BACKENDS))}."
        )
    return factory(package, config, threads)


def _load_onnx(package: ModelPackage, config: EngineConfig, threads: int | None) -> ModelRunner:
    from ai_assistant.engine.backends.onnx import OnnxRunner

    return OnnxRunner(package, max_chunk=config.prefill_chunk, threads=threads, device=_device(package, config))


def _load_past_tensors(package: ModelPackage, config: EngineConfig, threads: int | None) -> ModelRunner:
    from ai_assistant.engine.backends.past_tensors import PastTensorsRunner

    _device(package, config)  # refuses one that is asked for by name and cannot be had
    return PastTensorsRunner(package, threads=threads)


def _device(package: ModelPackage, config: EngineConfig) -> Device:
    import onnxruntime

    from ai_assistant.engine.backends.cuda_runtime import look_for_cuda

    device = choose_device(
        parse_device(config.device),
        precision=package.manifest.precision,
        providers=package.manifest.execution_providers,
        available=onnxruntime.get_available_providers(),
        look=look_for_cuda,
    )
    if device.note:
        logger.warning(device.note)
    if device.kind == "cuda":
        logger.info("The model is computed on CUDA device %d.", device.index)
    return device


BACKENDS: dict[str, RunnerFactory] = {"gqa-slots/1": _load_onnx, "past-tensors/1": _load_past_tensors}
