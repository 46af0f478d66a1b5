"""A worker's backend for a model server elsewhere, with all that it finds in a worker, at a server of the tests."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from remote_server import KEY, WORDS, RemoteServer

from ai_assistant.contracts import FinishReason, StreamEntry
from ai_assistant.errors import AssistantError
from ai_assistant.gateway.stream_reader import StreamReader
from ai_assistant.metrics import WorkerMetrics
from ai_assistant.settings import WorkerSettings
from ai_assistant.streams import StreamText, assemble
from ai_assistant.tasks.claim import ClaimedTask
from ai_assistant.worker.backend import Host
from ai_assistant.worker.remote import backend as remote
from ai_assistant.worker.remote.backend import RemoteBackend
from ai_assistant.worker.remote.text_generation import TextGeneration
from worker_tasks import make_task

ANSWER = "".join(WORDS)
STORY: list[dict[str, str]] = [{"role": "user", "content": "Tell me of the fox."}]


class Desk:
    """A backend, and somebody who reads what it gives as a gateway does."""

    def __init__(self, server: RemoteServer, **settings: Any) -> None:
        given = {"remote_url": server.url, "remote_api_key": KEY, **settings}
        self.server = server
        self.backend = RemoteBackend(WorkerSettings(_env_file=None, **given))  # type: ignore[call-arg]
        self.metrics = WorkerMetrics(CollectorRegistry())
        self.reader = StreamReader()
        self.entries: list[Any] = []
        self.generation: TextGeneration | None = None
        self.resets = 0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        host = Host(loop, None, self.metrics, "assistant", self.publish, lambda _: None)  # type: ignore[arg-type]
        await asyncio.to_thread(self.backend.start, host)

    def publish(self) -> None:
        """As fast as the fastest publisher."""
        assert self.generation is not None
        while (entry := self.generation.unpublished()) is not None:
            self.generation.mark_published(entry)
            self.entries.append(entry)
            self.resets += entry.kind is StreamEntry.RESET
            self.reader.feed([entry])

    async def answer(self, task: ClaimedTask | None = None, before: StreamText | None = None) -> TextGeneration:
        """What TaskRunner does."""
        self.generation = generation = self.backend.begin(task or make_task(messages=STORY))
        if before is not None:
            self.reader.feed(self.entries)
            self.backend.resume(generation, before)
        try:
            await self.backend.answer(generation)
        except AssistantError as error:
            generation.end(FinishReason.ERROR, error)
        self.publish()
        # the row has the last word; after a success it must be nothing new
        if generation.finish_reason in (FinishReason.STOP, FinishReason.LENGTH):
            assert self.reader.text == generation.text
            assert assemble(self.entries).text == generation.text
        return generation


@pytest_asyncio.fixture
async def desk(remote_server: RemoteServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    made = Desk(remote_server, remote_first_token_seconds=0.4, remote_token_seconds=0.4)
    await made.open()
    yield made
    await asyncio.to_thread(made.backend.close)


async def eventually(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)
