"""`ai-assistant worker`: a Celery consumer with one backend. One process is one engine; scale by starting more."""

import logging
import os
import signal
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.platforms import SecurityWarning

from ai_assistant.contracts import GENERATE_TASK, queue_name
from ai_assistant.dispatch import make_celery
from ai_assistant.errors import ConfigurationError
from ai_assistant.metrics import WorkerMetrics, process_registry
from ai_assistant.settings import WorkerSettings
from ai_assistant.worker.backend import Backend
from ai_assistant.worker.probes import start_probes
from ai_assistant.worker.service import Service

if TYPE_CHECKING:
    from ai_assistant.engine.llm_engine import LLMEngine
    from ai_assistant.engine.model_package import ModelPackage
    from ai_assistant.engine.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = (0.002, 0.02, 0.2)
"""After a task: the last ones only count on a machine that is busy."""


def run(settings: WorkerSettings) -> int:
    """Serve the assistant's queue until SIGTERM. Returns the exit code."""
    is_ready = False
    registry = process_registry()
    metrics = WorkerMetrics(registry)
    backend = make_backend(settings)
    metrics.slots.labels(settings.assistant).set(backend.slots)
    exit_codes = [0]

    def on_crash() -> None:
        exit_codes[0] = 1
        os.kill(os.getpid(), signal.SIGTERM)

    service = Service(settings, backend, metrics, on_crash)
    if settings.worker_metrics_port is not None:
        not_ready = "not consuming yet"
        try:
            start_probes(
                settings.worker_metrics_host,
                settings.worker_metrics_port,
                registry,
                service.liveness,
                lambda: service.readiness() or (None if is_ready else not_ready),
            )
        except OSError as error:
            raise ConfigurationError(
                f"Port {settings.worker_metrics_port} for the worker's metrics is taken; set AI_ASSISTANT_WORKER_METRICS_PORT."
            ) from error
    service.wait_for_schema()
    service.start()

    app = make_celery(settings.redis_url.get_secret_value())

    @app.task(name=GENERATE_TASK, ignore_result=True)  # type: ignore[untyped-decorator]
    def generate(task_id: str | None = None) -> None:
        """Whatever the token says, PostgreSQL decides what runs."""
        try:
            service.work()
        finally:
            look_again(consumer.hub)

    @signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
    def on_ready(**_: Any) -> None:
        nonlocal is_ready
        is_ready = True
        logger.info("Ready for %s with %d slots", settings.assistant, backend.slots)

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def on_shutdown(**_: Any) -> None:
        nonlocal is_ready
        is_ready = False
        service.drain()

    @signals.setup_logging.connect(weak=False)  # type: ignore[untyped-decorator]
    def keep_logging(**_: Any) -> None:
        """Being connected keeps Celery from configuring logging: the entry point has done it."""

    # Celery warns of root because of pickle, which is not accepted here
    warnings.filterwarnings("ignore", category=SecurityWarning)
    consumer = app.Worker(
        hostname=f"{settings.worker_id}@{settings.assistant}",
        queues=[queue_name(settings.assistant)],
        pool="threads",
        concurrency=backend.slots,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    consumer.start()
    service.stop()
    return exit_codes[0] or int(consumer.exitcode or 0)


def look_again(hub: Any) -> None:
    """Have Celery's loop look for the next token as soon as this one's slot counts as free.

    With prefetch off it asks Redis only while a slot is free, and nothing tells it that one is free again: it would sleep on for
    up to a second while tokens wait. The slot is given back right after the task function returns.
    """
    hub.call_soon(lambda: [hub.call_later(seconds, _nothing) for seconds in LOOK_AGAIN_SECONDS])


def _nothing() -> None:
    """Celery's loop looks for tokens whenever it has done something."""


def make_backend(settings: WorkerSettings) -> Backend[Any]:
    """What the settings ask for; only that is imported: with a model server elsewhere no engine is needed. Raises ModelError."""
    if settings.remote_url is not None:
        from ai_assistant.worker.remote.backend import RemoteBackend

        return RemoteBackend(settings)
    from ai_assistant.worker.engine_backend import EngineBackend

    started = time.monotonic()
    from ai_assistant.engine.model_package import hold

    package = find_package(settings)
    hold(package)
    engine, tokenizer = load_engine(settings, package)
    logger.info("Loaded %s %s in %.1f s", package.digest[:12], package.manifest.precision, time.monotonic() - started)
    return EngineBackend(engine, tokenizer, settings.slots)


def find_package(settings: WorkerSettings) -> "ModelPackage":
    """The configured package, or one built from the configured source. Raises ModelError."""
    from ai_assistant.engine.model_package import load_package

    if settings.model_package is not None:
        return load_package(settings.model_package)
    # only a worker without a package needs the builder installed
    from ai_assistant.provision.build import build_package
    from ai_assistant.provision.progress import progress_view

    with progress_view(sys.stderr) as progress:
        folder = build_package(
            settings.model,
            precision=settings.precision,
            device=settings.device,
            export_python=settings.export_python,
            store=settings.store,
            progress=progress,
        )
    return load_package(folder)


def load_engine(settings: WorkerSettings, package: "ModelPackage") -> "tuple[LLMEngine, Tokenizer]":
    """Raises ModelPackageError, and ConfigurationError where the device cannot be used."""
    from ai_assistant.engine.backends import load_runner
    from ai_assistant.engine.config import EngineConfig
    from ai_assistant.engine.llm_engine import LLMEngine
    from ai_assistant.engine.tokenizer import Tokenizer

    config = EngineConfig(
        num_slots=settings.slots,
        max_context=settings.max_context,
        kv_memory_bytes=None if settings.kv_memory_mib is None else settings.kv_memory_mib * 2**20,
        device=settings.device,
    )
    runner = load_runner(package, config, settings.threads)
    return LLMEngine(runner, config), Tokenizer.of_package(package)
