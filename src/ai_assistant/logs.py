"""Logging: JSON lines in production, readable lines on a terminal, one request id from the gateway to the worker.

Modules log by `logging.getLogger(__name__)` with `extra={…}`; only entry points call `configure`.
"""

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog

from ai_assistant.settings import LogSettings

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that is being served; goes into the task row and from there to the worker."""

NOISY = (
    "httpx",
    "httpcore",
    "kombu",
    "amqp",
    "alembic",
    "asyncio",
    "sqlalchemy.engine",
    "celery.worker.strategy",  # two lines per wake token
    "celery.app.trace",
    "celery.apps.worker",
)


def add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    value = request_id.get()
    if value is not None and "request_id" not in event:
        event["request_id"] = value
    return event


def configure(settings: LogSettings, process: str) -> None:
    """Send all logs of this process to stderr."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_request_id,
    ]
    final: list[structlog.types.Processor]
    if as_json:
        # without local variables: they hold what people write, and keys
        traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        final = [structlog.processors.ExceptionRenderer(traceback), structlog.processors.JSONRenderer()]
    else:
        final = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)
