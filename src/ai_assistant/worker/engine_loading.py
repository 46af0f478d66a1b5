"""The engine as the settings describe it: package, graph, tokenizer."""

import logging
import sys
import time

from ai_assistant.engine.backends import load_runner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_package import ModelPackage, load_package
from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.settings import WorkerSettings, default_data_dir
from ai_assistant.worker.engine_backend import EngineBackend

logger = logging.getLogger(__name__)


def load_engine_backend(settings: WorkerSettings) -> EngineBackend:
    """Load the model of this worker. Raises ModelError."""
    started = time.monotonic()
    package = find_package(settings)
    engine, tokenizer = load_engine(settings, package)
    logger.info("Loaded %s %s in %.1f s", package.digest[:12], package.manifest.precision, time.monotonic() - started)
    return EngineBackend(engine, tokenizer, settings.slots)


def find_package(settings: WorkerSettings) -> ModelPackage:
    """The configured package, or one built from the configured source. Raises ModelError."""
    if settings.model_package is not None:
        return load_package(settings.model_package)
    # only a worker without a package needs the builder installed
    from ai_assistant.provision.build import build_package
    from ai_assistant.provision.progress import progress_view

    store = settings.model_store or default_data_dir() / "models"
    with progress_view(sys.stderr) as progress:
        return load_package(build_package(settings.model, precision=settings.precision, store=store, progress=progress))


def load_engine(settings: WorkerSettings, package: ModelPackage) -> tuple[LLMEngine, Tokenizer]:
    """Raises ModelPackageError."""
    config = EngineConfig(
        num_slots=settings.slots,
        max_context=settings.max_context,
        kv_memory_bytes=None if settings.kv_memory_mib is None else settings.kv_memory_mib * 2**20,
    )
    runner = load_runner(package, config, settings.threads)
    return LLMEngine(runner, config), Tokenizer.of_package(package)
