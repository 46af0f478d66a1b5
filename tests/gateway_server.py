"""A gateway behind a real server on loopback, in this process: streams and closed connections are real."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from ai_assistant.gateway.app import create_app
from ai_assistant.gateway.state import AppState
from gateway_app import make_settings


@dataclass
class Follower:
    """What one SSE client has after some events. Every violation of the stream's promises raises at once."""

    text: str = ""
    last_id: str | None = None
    resets: int = 0
    queue: list[dict[str, Any]] = field(default_factory=list)
    pings: int = 0
    final: dict[str, Any] | None = None
    final_event: str | None = None

    def take(self, block: str) -> None:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            if line.startswith(":"):
                self.pings += 1
                continue
            name, _, value = line.partition(": ")
            assert name not in fields, block
            fields[name] = value
        if "data" not in fields:
            return
        data, event = json.loads(fields["data"]), fields["event"]
        if event == "token":
            assert data["offset"] == len(self.text), (data, len(self.text))
            assert data["text"]
            self.text += data["text"]
            assert fields["id"] == str(len(self.text))
        elif event == "reset":
            assert data["offset"] <= len(self.text)
            assert fields["id"] == str(data["offset"])
            self.text = self.text[: data["offset"]]
            self.resets += 1
        elif event == "queue":
            self.queue.append(data)
        else:
            assert event in ("done", "error"), event
            self.final, self.final_event = data, event
        self.last_id = fields.get("id", self.last_id)


@dataclass
class Served:
    """A gateway with its address and a client."""

    app: FastAPI
    url: str
    client: httpx.AsyncClient

    @property
    def state(self) -> AppState:
        state = self.app.state.gateway
        assert isinstance(state, AppState)
        return state

    async def ask(self, message: str = "Hello", *, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
        response = await self.client.post("/api/chat", json={"message": message, **body}, headers=headers)
        assert response.status_code == 202, response.text
        return dict(response.json())

    async def status(self, task_id: str, wait: float = 0) -> dict[str, Any]:
        response = await self.client.get(f"/api/status/{task_id}", params={"wait": wait} if wait else None)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def follow(self, task_id: str, follower: Follower | None = None, *, characters: int | None = None) -> Follower:
        """Read the stream to its end, or until the follower has so many characters; go on where it is."""
        follower = follower or Follower()
        headers = {"Last-Event-ID": follower.last_id} if follower.last_id else {}
        buffer = b""
        async with self.client.stream("GET", f"/api/chat/{task_id}/stream", headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            assert response.headers["content-type"].startswith("text/event-stream")
            async for chunk in response.aiter_raw():
                *blocks, buffer = (buffer + chunk).split(b"\n\n")
                for block in blocks:
                    follower.take(block.decode())
                    if characters is not None and len(follower.text) >= characters:
                        return follower
                if follower.final is not None:
                    return follower
        return follower


@contextlib.asynccontextmanager
async def served_gateway(database_url: str, redis_url: str, **options: Any) -> AsyncIterator[Served]:
    options = {"assistant": "assistant", "sweep_seconds": 0.3} | options
    app = create_app(make_settings(database_url, redis_url, **options))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=2))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done(), serving.exception()
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=None)) as client:
        state: AppState = app.state.gateway
        try:
            registration = state._registration
            if registration is not None and options.get("wait_registered", True):
                await asyncio.wait({registration}, timeout=10)
            yield Served(app, url, client)
        finally:
            await state.end_streams()
            server.should_exit = True
            await serving
