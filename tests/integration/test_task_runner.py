"""One task's way through a worker when something on it never answers. The engine is a stand-in; the servers are real."""

import asyncio
import concurrent.futures
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis
from servers import Server
from sqlalchemy import text
from tokenizers import pre_tokenizers

from ai_assistant import assistants, users
from ai_assistant.contracts import stream_key
from ai_assistant.database.models import Task
from ai_assistant.database.session import Database
from ai_assistant.dispatch import Dispatcher
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.metrics import WorkerMetrics
from ai_assistant.settings import WorkerSettings
from ai_assistant.tasks.accept import Submission, accept
from ai_assistant.tasks.sweep import sweep
from ai_assistant.worker import engine_backend
from ai_assistant.worker.backend import Host
from ai_assistant.worker.engine_backend import EngineBackend
from ai_assistant.worker.task_runner import TaskRunner
from gateway_app import migrated_database


class SilentEngine:
    """Takes everything and never says anything, like an engine thread that has died."""

    max_context = 100

    def __init__(self) -> None:
        self.added: list[Sequence] = []

    def add(self, sequence: Sequence) -> "concurrent.futures.Future[None]":
        self.added.append(sequence)
        return concurrent.futures.Future()

    def cancel(self, seq_id: str) -> None:
        """Nobody hears it."""


class Worker:
    """A TaskRunner and what it needs."""

    def __init__(self, database: Database, redis_url: str) -> None:
        urls = {"database_url": SecretStr("postgresql://unused"), "redis_url": SecretStr(redis_url)}
        settings = WorkerSettings(_env_file=None, worker_id="w1", **urls)  # type: ignore[call-arg, arg-type]
        self.database, self.engine = database, SilentEngine()
        self.redis: Any = Redis.from_url(redis_url)
        self.dispatcher = Dispatcher(redis_url)
        metrics = WorkerMetrics(CollectorRegistry())
        backend = EngineBackend(None, byte_tokenizer(), slots=4)  # type: ignore[arg-type]
        backend.engine = self.engine  # type: ignore[assignment]
        self.runner = TaskRunner(settings, database, self.redis, self.dispatcher, backend, metrics)
        loop, publisher = asyncio.get_running_loop(), self.runner.publisher
        backend.host = Host(loop, database, metrics, "assistant", publisher.wake, lambda _: None)

    async def ask(self, seconds: float = 600) -> Task:
        async with self.database.session() as session:
            user = await users.get_or_create(session, "local")
            submission = Submission(
                assistant="assistant",
                user_id=user.id,
                principal="local",
                deadline_seconds=seconds,
                max_queued=10,
                sampling={"max_tokens": 10},
                message="Hello",
            )
            return await accept(session, submission)

    async def row(self, task: Task) -> Task:
        async with self.database.session() as session:
            found = await session.get(Task, task.id)
        assert found is not None
        return found

    async def drain(self) -> None:
        """What the service does when its time to drain is over."""
        self.runner.is_draining = self.runner.is_drained = True
        for generation in self.runner.running():
            generation.leave()

    @contextlib.asynccontextmanager
    async def working(self, until: Callable[[], bool]) -> "AsyncIterator[None]":
        """One wake token's work is under way and has come as far as `until`; at the end it must come to an end."""
        work = asyncio.create_task(self.runner.work())
        try:
            async with asyncio.timeout(5):
                while not until():
                    await asyncio.sleep(0.01)
            yield
            await asyncio.wait_for(work, 5)
        finally:
            work.cancel()


def byte_tokenizer() -> Tokenizer:
    tokens = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content = {
        "version": "1.0",
        "added_tokens": [{"id": 0, "content": "<|end|>", **special}],
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": {token: index for index, token in enumerate(tokens)}, "merges": []},
    }
    return Tokenizer(json.dumps(content), eos_token_ids=(0,))


async def some_ids(*_: object) -> list[int]:
    return [1, 2, 3]


@pytest_asyncio.fixture
async def worker(postgres_url: str, valkey: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    monkeypatch.setattr(engine_backend, "prompt_ids", some_ids)
    database = Database(await migrated_database(postgres_url))
    async with database.session() as session:
        await assistants.register(session, "assistant", instructions=None, defaults={})
    made = Worker(database, valkey.url)
    yield made
    made.dispatcher.close()
    await made.redis.aclose()
    await database.close()


async def test_a_dead_engine_keeps_no_task(worker: Worker) -> None:
    task = await worker.ask()
    async with worker.working(lambda: bool(worker.engine.added)):
        await worker.drain()
    assert (await worker.row(task)).state == "queued"
    assert worker.runner.running() == []


async def test_a_prompt_that_cannot_be_read_keeps_no_task(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = asyncio.Event()

    async def wait_for_postgres(*_: object) -> list[int]:
        reading.set()
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(engine_backend, "prompt_ids", wait_for_postgres)
    task = await worker.ask()
    async with worker.working(reading.is_set):
        await worker.drain()
    assert (await worker.row(task)).state == "queued"
    assert worker.engine.added == []


async def test_a_task_that_breaks_every_engine_is_tried_three_times(worker: Worker) -> None:
    task = await worker.ask()
    worker.runner.has_crashed = True
    for attempt in (1, 2, 3):
        async with worker.working(lambda attempt=attempt: len(worker.engine.added) == attempt):  # type: ignore[misc]
            await worker.drain()
        worker.runner.is_draining = worker.runner.is_drained = False
        async with worker.database.session() as session:
            await session.execute(text("UPDATE tasks SET lost_at = lost_at - interval '1 minute'"))
    async with worker.database.session() as session:
        swept = await sweep(session, "assistant")
    assert swept is not None
    assert swept.ended == [task.id]
    row = await worker.row(task)
    assert (row.state, (row.error or {})["code"]) == ("failed", "worker_lost")


async def test_waiting_for_the_prompt_does_not_move_the_deadline(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow_ids(*_: object) -> list[int]:
        await asyncio.sleep(1)
        return [1, 2, 3]

    monkeypatch.setattr(engine_backend, "prompt_ids", slow_ids)
    await worker.ask(seconds=60)
    asked_at = time.monotonic()
    async with worker.working(lambda: bool(worker.engine.added)):
        await worker.drain()
    assert worker.engine.added[0].deadline == pytest.approx(asked_at + 60, abs=0.5)


async def test_text_of_a_user_who_was_forgotten_is_cleared_up(worker: Worker) -> None:
    task = await worker.ask()
    async with worker.working(lambda: bool(worker.engine.added)):
        async with worker.database.session() as session:
            await session.execute(text("DELETE FROM users"))
        # the gateway had deleted the stream; then this worker went on publishing
        await worker.redis.xadd(stream_key(task.id), {"a": 1, "k": "t", "o": 0, "t": "a secret", "i": ""})
        (generation,) = worker.runner.running()
        worker.runner.cancel(generation)
    assert not await worker.redis.exists(stream_key(task.id))


async def test_text_of_a_task_that_another_worker_has_stays(worker: Worker) -> None:
    task = await worker.ask()
    async with worker.working(lambda: bool(worker.engine.added)):
        async with worker.database.session() as session:
            await session.execute(text("UPDATE tasks SET attempt = attempt + 1"))
        (generation,) = worker.runner.running()
        worker.runner.cancel(generation)
    assert await worker.redis.exists(stream_key(task.id))
