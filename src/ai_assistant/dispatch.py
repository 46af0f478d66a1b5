"""Wake tokens: the Celery messages that call workers. A token is only a hint, so a push that fails is not an error;
the sweep makes up for it."""

import asyncio
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery

from ai_assistant.contracts import GENERATE_TASK, queue_name

logger = logging.getLogger(__name__)

PUSH_SECONDS = 1.5
"""Longer than this no push takes; the sweep waits TOKEN_GRACE_SECONDS (2 s) before it makes up for a missing token."""

PUSH_THREADS = 4


def celery_url(redis_url: str) -> str:
    """Kombu's spelling of a Redis URL (it calls a Unix socket `redis+socket://`)."""
    return "redis+socket://" + redis_url.removeprefix("unix://") if redis_url.startswith("unix://") else redis_url


def make_celery(redis_url: str) -> Celery:
    """A Celery application that keeps nothing in Redis but the queues."""
    app = Celery("ai_assistant", broker=celery_url(redis_url), set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=False,
        worker_disable_prefetch=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": PUSH_SECONDS,
            "socket_connect_timeout": PUSH_SECONDS,
            "retry_on_timeout": False,
            "max_retries": 0,
        },
        task_publish_retry=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        task_create_missing_queues=True,
        task_default_queue="assistant",
    )
    return app


class Dispatcher:
    """Pushes wake tokens. Celery's client blocks, so it runs on threads of its own: a Redis that does not answer must not take
    the threads that everything else shares."""

    def __init__(self, redis_url: str) -> None:
        self._app = make_celery(redis_url)
        self._threads = ThreadPoolExecutor(PUSH_THREADS, thread_name_prefix="dispatch")

    async def push(self, assistant: str, task_ids: "list[uuid.UUID | None]") -> bool:
        """One token per task id, None where no particular task is meant. False: Redis could not be reached in time."""
        if not task_ids:
            return True
        try:
            sending = asyncio.get_running_loop().run_in_executor(self._threads, self._send, assistant, task_ids)
            await asyncio.wait_for(sending, PUSH_SECONDS + 0.3)
        except TimeoutError:
            logger.warning("Redis does not answer; the wake token will be sent later", extra={"assistant": assistant})
            return False
        except Exception as error:
            logger.warning("Redis cannot be reached (%s); the wake token will be sent later", error)
            return False
        return True

    def _send(self, assistant: str, task_ids: "list[uuid.UUID | None]") -> None:
        queue = queue_name(assistant)
        options: dict[str, Any] = {"queue": queue, "retry": False, "ignore_result": True}
        with self._app.producer_or_acquire() as producer:
            for task_id in task_ids:
                self._app.send_task(GENERATE_TASK, (str(task_id) if task_id else None,), producer=producer, **options)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._app.close()
