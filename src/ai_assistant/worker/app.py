"""`ai-assistant worker`: a Celery consumer with one backend. One process is one engine; scale by starting more."""

import logging
import os
import signal
import warnings
from typing import Any

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

logger = logging.getLogger(__name__)


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
        service.work()

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


def make_backend(settings: WorkerSettings) -> Backend[Any]:
    """What the settings ask for; only that is imported: with a model server elsewhere no engine is needed. Raises ModelError."""
    if settings.remote_url is not None:
        from ai_assistant.worker.remote.backend import RemoteBackend

        return RemoteBackend(settings)
    from ai_assistant.worker.engine_loading import load_engine_backend

    return load_engine_backend(settings)
