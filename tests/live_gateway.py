"""A gateway inside the process, as far as live answers need one: tasks whose text a test writes, and their deliveries.

Stands where `GatewayClient` does (`call`, `stream`, `cancel`), so it works in simulated time too; the client's own HTTP is tested
against `gateway_double`.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from ai_assistant.errors import AssistantError
from gateway_double import event, token


@dataclass
class LiveTask:
    """One answer; what is set is told when `tell` is called."""

    id: str
    target: dict[str, Any]
    author: str | None = None
    text: str = ""
    place: dict[str, Any] | None = None
    status: str = "running"
    preview_message_id: int | None = None
    is_delivered: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_final(self) -> bool:
        return self.status not in ("queued", "running")

    def view(self) -> dict[str, Any]:
        return {
            "task_id": self.id,
            "target": self.target,
            "author": self.author,
            "assistant": "assistant",
            "preview_message_id": self.preview_message_id,
        }


class LiveGateway:
    def __init__(self) -> None:
        self.tasks: dict[str, LiveTask] = {}
        self.assistants: list[dict[str, Any]] = [{"name": "assistant", "state": "ready", "details": {}}]
        self.cancelled: list[str] = []
        self.streams = 0
        """Open ones."""
        self.is_away = False
        self.page_size = 2

    def task(self, chat_id: int = 7, *, author: str | None = None, language: str = "en", **target: Any) -> LiveTask:
        task = LiveTask(str(uuid.uuid4()), {"chat_id": chat_id, "language": language, **target}, author)
        self.tasks[task.id] = task
        return task

    def write(self, task: LiveTask, text: str) -> None:
        task.text += text
        self.tell(task)

    def end(self, task: LiveTask, status: str = "succeeded") -> None:
        task.status = status
        self.tell(task)

    def tell(self, task: LiveTask) -> None:
        task.changed.set()
        task.changed = asyncio.Event()

    # what the bot calls

    async def cancel(self, task_id: str) -> dict[str, Any]:
        self._check()
        self.cancelled.append(task_id)
        self.end(self.tasks[task_id], "cancelled")
        return {}

    async def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        self._check()
        if (method, path) == ("GET", "/api/assistants"):
            return {"assistants": self.assistants}
        if (method, path) == ("PUT", "/api/deliveries/preview"):
            body = options["json"]
            self.tasks[body["task_id"]].preview_message_id = body["message_id"]
            return {}
        if (method, path) == ("GET", "/api/deliveries/questions"):
            query = options["params"]
            assert (query["channel"], query["is_open"]) == ("telegram", "true")
            tasks = [task for task in self.tasks.values() if not task.is_delivered]
            return {"questions": [task.view() for task in tasks if task.target["chat_id"] == query["target"]]}
        assert (method, path) == ("GET", "/api/deliveries"), path
        query = options["params"]
        assert (query["channel"], query["state"]) == ("telegram", "waiting")
        waiting = [task for task in self.tasks.values() if not task.is_final]
        waiting = [task for task in waiting if query.get("target") in (None, str(task.target["chat_id"]))]
        begin = int(query.get("after", 0))
        end = begin + self.page_size
        return {
            "deliveries": [task.view() for task in waiting[begin:end]],
            "next": str(end) if end < len(waiting) else None,
        }

    @contextlib.asynccontextmanager
    async def stream(self, path: str, *, headers: dict[str, str], timeout: float) -> AsyncIterator[httpx.Response]:
        assert timeout > 15, "the gateway's signs of life come every 15 s"
        if self.is_away:
            raise httpx.ConnectError("away")
        task = self.tasks.get(path.split("/")[3])
        self.streams += 1
        try:
            if task is None:
                yield httpx.Response(404)
            else:
                yield httpx.Response(200, stream=Events(self, task, int(headers["Last-Event-ID"])))
        finally:
            self.streams -= 1

    def _check(self) -> None:
        if self.is_away:
            raise AssistantError("The gateway is away.")


class Events(httpx.AsyncByteStream):
    """The stream of one task for a reader who has `offset` characters."""

    def __init__(self, gateway: LiveGateway, task: LiveTask, offset: int) -> None:
        self.gateway = gateway
        self.task = task
        self.offset = offset

    async def __aiter__(self) -> AsyncIterator[bytes]:
        task, place = self.task, None
        while True:
            changed = task.changed
            if self.gateway.is_away:
                raise httpx.ReadError("the connection broke")
            if task.place != place and not task.text:
                place = task.place
                yield event("queue", place)
            if len(task.text) > self.offset:
                yield token(self.offset, task.text[self.offset :])
                self.offset = len(task.text)
            if task.is_final:
                yield event("done", {"status": task.status, "text": task.text})
                return
            await changed.wait()
