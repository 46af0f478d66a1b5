"""What runs for as long as the worker does survives an error that nobody expected."""

import asyncio
import contextlib
import types
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from ai_assistant.contracts import StreamEntry
from ai_assistant.streams import Appended, Entry
from ai_assistant.worker import publisher as publishing
from ai_assistant.worker.keeper import Keeper
from ai_assistant.worker.publisher import Publisher, turn_seconds


class Answer:
    """As much of a Generation as the publisher looks at."""

    def __init__(self) -> None:
        self.seq_id, self.task = "a/1", types.SimpleNamespace(id=uuid.uuid4(), attempt=1)
        self.publishing = asyncio.Lock()
        self.is_published = False

    def unpublished(self) -> Entry | None:
        return None if self.is_published else Entry(1, StreamEntry.TOKEN, 0, "a", (1,))

    def mark_published(self, entry: Entry) -> None:
        self.is_published = True

    def publish_again(self) -> None:
        """It always has everything."""


class Writer:
    """Fails once in a way that Redis does not."""

    def __init__(self) -> None:
        self.calls = 0

    async def append(self, entries: Sequence[tuple[uuid.UUID, Entry]]) -> list[Appended]:
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("what nobody expected")
        return [Appended.OK for _ in entries]


async def eventually(holds: Any) -> None:
    async with asyncio.timeout(3):
        while not holds():
            await asyncio.sleep(0.005)


async def test_the_publisher_goes_on_and_forgets_what_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "RETRY", 0.01)
    answer: Any = Answer()
    publisher = Publisher(Writer(), lambda: [answer])  # type: ignore[arg-type]
    running = asyncio.create_task(publisher.run())
    publisher.wake()
    await eventually(lambda: answer.is_published)
    publisher.forget(answer)
    assert publisher._begun == set()
    running.cancel()


async def test_the_listener_goes_on_after_a_message_that_is_no_text() -> None:
    cancelled: list[Any] = []
    answer = types.SimpleNamespace(task=types.SimpleNamespace(id=uuid.uuid4()))
    messages = [b"\xff", str(answer.task.id).encode()]

    class Channel:
        async def subscribe(self, name: str) -> None:
            """Always works."""

        async def get_message(self, **_: Any) -> dict[str, bytes] | None:
            await asyncio.sleep(0.005)
            return {"data": messages.pop(0)} if messages else None

    class Redis:
        @contextlib.asynccontextmanager
        async def pubsub(self) -> AsyncIterator[Channel]:
            yield Channel()

    keeper = Keeper(None, Redis(), lambda: [answer], cancelled.append, lease_seconds=10)  # type: ignore[arg-type, list-item, return-value]
    listening = asyncio.create_task(keeper.listen())
    await eventually(lambda: cancelled == [answer])
    listening.cancel()


def test_many_answers_are_published_less_often() -> None:
    assert turn_seconds(1) == turn_seconds(8) == 0.05
    assert turn_seconds(16) == 0.1
