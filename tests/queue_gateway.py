"""The gateway's internal port as the operator sees it, on a real socket: a second implementation of the border.

Tests set the queues, and how it misbehaves.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from ai_assistant_operator.demand import OLDEST_SECONDS, QUEUE_DEPTH, TASKS, WORKER_TASKS

TOKEN = "service-token"


def queue(assistant: str, queued: int = 0, running: int = 0, **more: Any) -> dict[str, Any]:
    """As the gateway tells it."""
    return {
        "assistant": assistant,
        "queued": queued,
        "running": running,
        "redis_depth": queued,
        "oldest_seconds": 0.0,
        "workers": {},
    } | more


def metrics_page(queues: dict[str, dict[str, Any]]) -> bytes:
    """By the real client library, among other metrics."""
    registry = CollectorRegistry()
    Counter("ai_assistant_http_requests_total", "Requests", ["route"], registry=registry).labels("/metrics").inc()
    tasks = Gauge(TASKS, "Tasks", ["assistant", "state"], registry=registry)
    depth = Gauge(QUEUE_DEPTH, "Depth", ["assistant"], registry=registry)
    oldest = Gauge(OLDEST_SECONDS, "Oldest", ["assistant"], registry=registry)
    workers = Gauge(WORKER_TASKS, "Workers", ["assistant", "worker"], registry=registry)
    for name, state in queues.items():
        tasks.labels(name, "queued").set(state["queued"])
        tasks.labels(name, "running").set(state["running"])
        oldest.labels(name).set(state["oldest_seconds"])
        if state["redis_depth"] is not None:
            depth.labels(name).set(state["redis_depth"])
        for worker, running in state["workers"].items():
            workers.labels(name, worker).set(running)
    return generate_latest(registry)


class QueueGateway:
    """`queues` is the truth; `tell` changes it with an event, an assignment changes it without."""

    def __init__(self) -> None:
        self.queues: dict[str, dict[str, Any]] = {}
        self.heartbeat_seconds = 0.1
        self.is_fresh = True
        self.status = {"/internal/queues": 200, "/metrics": 200}
        self.page: bytes | None = None
        """Instead of the metrics."""
        self.is_silent = False
        """Streams say nothing more, but stay open: what a half-open connection looks like."""
        self.scrape_seconds = 0.0
        self.streams: set[asyncio.Queue[bytes | None]] = set()
        self.opened = 0
        self.scrapes = 0
        self.url = ""
        self.port = 0
        self._runner: web.AppRunner | None = None

    def tell(self, state: dict[str, Any]) -> None:
        self.queues[state["assistant"]] = state
        self.send("queue", state)

    def remove(self, assistant: str) -> None:
        del self.queues[assistant]
        self.send("removed", {"assistant": assistant})

    def send(self, event: str, data: Any) -> None:
        self.send_raw(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())

    def send_raw(self, data: bytes | None) -> None:
        """None ends the streams."""
        if not self.is_silent:
            for stream in self.streams:
                stream.put_nowait(data)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/internal/queues", self._stream)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.url, self.port = site.name, int(site.name.rsplit(":", 1)[1])

    async def stop(self) -> None:
        """As a process that is killed: streams break off."""
        assert self._runner is not None
        for stream in self.streams:
            stream.put_nowait(None)
        await self._runner.cleanup()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.opened += 1
        if self.status[request.path] != 200:
            return web.json_response({"error": {"code": "x", "message": "no"}}, status=self.status[request.path])
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": {"code": "unauthorized", "message": "no"}}, status=401)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        mine: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.streams.add(mine)
        try:
            await response.write(b"retry: 1000\n\n")
            if not self.is_silent:
                snapshot = json.dumps({"assistants": list(self.queues.values())})
                await response.write(f"event: snapshot\ndata: {snapshot}\n\n".encode())
            while True:
                try:
                    async with asyncio.timeout(self.heartbeat_seconds):
                        data = await mine.get()
                except TimeoutError:
                    if self.is_silent:
                        continue
                    data = f"event: heartbeat\ndata: {json.dumps({'fresh': self.is_fresh})}\n\n".encode()
                if data is None:
                    return response
                await response.write(data)
        except ConnectionResetError:
            return response
        finally:
            self.streams.discard(mine)

    async def _metrics(self, request: web.Request) -> web.Response:
        self.scrapes += 1
        await asyncio.sleep(self.scrape_seconds)
        if self.status[request.path] != 200:
            return web.Response(status=self.status[request.path])
        page = metrics_page(self.queues) if self.page is None else self.page
        return web.Response(body=page, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


@contextlib.asynccontextmanager
async def running_gateway() -> AsyncIterator[QueueGateway]:
    gateway = QueueGateway()
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()
