"""`/internal/queues` over real connections: every change at every replica, whatever becomes of Redis and of slow readers."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fake_worker import FakeWorker
from redis.asyncio import Redis
from servers import Server, started_valkey

from ai_assistant.contracts import QUEUES_CHANNEL
from ai_assistant.gateway import queue_feed
from gateway_app import Gateway, migrated_database, started_gateway


class Operator:
    """One connection to the stream; `states` is what it knows, `events` all that it was told."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.states: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[str, Any]] = []

    async def next(self, seconds: float = 5) -> tuple[str, Any]:
        async with asyncio.timeout(seconds):
            name = ""
            async for line in self._lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data = json.loads(line.removeprefix("data: "))
                    self._take(name, data)
                    return name, data
        raise AssertionError("the stream has ended")

    def _take(self, name: str, data: Any) -> None:
        self.events.append((name, data))
        if name == "snapshot":
            self.states = {item["assistant"]: item for item in data["assistants"]}
        elif name == "queue":
            self.states[data["assistant"]] = data
        elif name == "removed":
            del self.states[data["assistant"]]

    async def until(self, seconds: float = 5, **wanted: Any) -> dict[str, Any]:
        """The state of the assistant once it has these members."""
        async with asyncio.timeout(seconds):
            while True:
                state = self.states.get("assistant", {})
                if all(state.get(name) == value for name, value in wanted.items()):
                    return state
                await self.next(seconds)


@contextlib.asynccontextmanager
async def replica(database_url: str, redis_url: str) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway whose internal application is behind a real server."""
    options: dict[str, Any] = {"assistant": "assistant", "service_token": "secret", "sweep_seconds": 60}
    async with started_gateway(database_url, redis_url, **options) as gateway:
        app = gateway.internal._transport.app  # type: ignore[attr-defined]
        config = uvicorn.Config(app, port=0, lifespan="off", log_level="warning", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield gateway, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            await gateway.state.end_streams()
            server.should_exit = True
            await serving


@contextlib.asynccontextmanager
async def operator(url: str, token: str = "secret") -> AsyncIterator[Operator]:
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("GET", f"{url}/internal/queues", headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        yield Operator(response.aiter_lines())


async def ask(gateway: Gateway) -> dict[str, Any]:
    response = await gateway.client.post("/api/chat", json={"message": "x"})
    assert response.status_code == 202, response.text
    return dict(response.json())


async def registered(gateway: Gateway) -> None:
    while not (await gateway.client.get("/api/assistants")).json().get("assistants"):
        await asyncio.sleep(0.02)


async def test_changes_through_one_replica_are_seen_at_the_other(postgres_url: str, valkey: Server) -> None:
    valkey.flush()
    url = await migrated_database(postgres_url)
    async with replica(url, valkey.url) as (first, _), replica(url, valkey.url) as (second, second_url):
        await registered(first)
        await ask(first)
        async with operator(second_url) as reader:
            name, data = await reader.next()
            assert name == "snapshot"
            (state,) = data["assistants"]
            assert (state["assistant"], state["queued"], state["running"], state["workers"]) == ("assistant", 1, 0, {})
            assert (state["redis_depth"], state["oldest_seconds"] >= 0) == (1, True)
            await asyncio.sleep(0.3)
            begun = time.monotonic()
            await ask(first)
            await reader.until(queued=2)
            assert time.monotonic() - begun < 0.7  # not by the reading of each second
            await reader.until(redis_depth=2)
            async with FakeWorker(second.state.database, valkey.url, name="worker-0", seconds_per_piece=0.01):
                state = await reader.until(running=2, queued=0)
                assert state["workers"] == {"worker-0": 2}
                state = await reader.until(running=0)
                assert (state["workers"], state["oldest_seconds"]) == ({}, 0.0)
            body = {"uid": "u", "generation": 1}
            first.internal.headers["authorization"] = "Bearer secret"
            await first.internal.put("/internal/assistants/pirate", json=body)
            while "pirate" not in reader.states:
                await reader.next()
            await first.internal.delete("/internal/assistants/pirate")
            while "pirate" in reader.states:
                await reader.next()
        async with asyncio.timeout(5):  # nobody listens any more: nothing is read
            while second.state.queue_feed._loops:
                await asyncio.sleep(0.01)


async def test_the_hint_goes_ahead_of_the_token(postgres_url: str, valkey: Server) -> None:
    valkey.flush()
    async with replica(await migrated_database(postgres_url), valkey.url) as (gateway, url):
        await registered(gateway)
        async with operator(url) as reader:
            await reader.next()
            took = []
            for number in range(1, 11):
                await asyncio.sleep(0.25)
                sent = time.monotonic()
                asking = asyncio.create_task(ask(gateway))
                await reader.until(queued=number)
                took.append(time.monotonic() - sent)
                await asking
    # the whole way: request, commit, hint, reading, event; the median, with a wide margin on a shared machine
    assert sorted(took)[5] < 0.25, took


async def test_many_changes_are_told_together(postgres_url: str, valkey: Server) -> None:
    async with replica(await migrated_database(postgres_url), valkey.url) as (gateway, url):
        await registered(gateway)
        async with operator(url) as reader:
            await reader.next()
            readings = 0
            read = gateway.state.queue_feed._read

            async def count() -> None:
                nonlocal readings
                readings += 1
                await read()

            gateway.state.queue_feed._read = count  # type: ignore[method-assign]
            begun = time.monotonic()
            while time.monotonic() - begun < 0.5:
                gateway.state.queue_feed.hint()
                await asyncio.sleep(0)
            assert 1 <= readings <= 0.5 / queue_feed.COALESCE_SECONDS + 2


async def test_heartbeats_tell_whether_numbers_are_fresh(
    own_postgres: Server, valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_feed, "HEARTBEAT_SECONDS", 0.3)
    monkeypatch.setattr(queue_feed, "FRESH_SECONDS", 1.5)
    async with replica(await migrated_database(own_postgres.url), valkey.url) as (gateway, url):
        await registered(gateway)
        async with operator(url) as reader:
            assert [(await reader.next())[0], await reader.next()] == ["snapshot", ("heartbeat", {"fresh": True})]
            own_postgres.stop()
            while reader.events[-1] != ("heartbeat", {"fresh": False}):
                await reader.next()
            known = dict(reader.states)
            own_postgres.start()
            while reader.events[-1] != ("heartbeat", {"fresh": True}):
                await reader.next()
            assert reader.states.keys() == known.keys()  # an outage removes nothing
            await ask(gateway)
            await reader.until(queued=1)


async def test_without_redis_it_goes_on(postgres_url: str, tmp_path: Path) -> None:
    with started_valkey(tmp_path / "valkey") as own:
        async with replica(await migrated_database(postgres_url), own.url) as (gateway, url):
            await registered(gateway)
            async with operator(url) as reader:
                await reader.until(redis_depth=0)
                own.stop()
                await ask(gateway)
                state = await reader.until(queued=1, redis_depth=None, seconds=8)
                assert state["running"] == 0
                own.start()
                await reader.until(queued=1, redis_depth=0, seconds=8)
                async with asyncio.timeout(8), Redis.from_url(own.url) as redis:
                    while not await redis.publish(QUEUES_CHANNEL, "assistant"):  # the listener comes back too
                        await asyncio.sleep(0.05)


async def test_a_slow_reader_gets_the_latest_only() -> None:
    feed = queue_feed.QueueFeed(None, None, None)  # type: ignore[arg-type]
    feed._loops = [asyncio.create_task(asyncio.sleep(60))]  # nothing reads
    events = feed.events()
    waiting = asyncio.create_task(anext(events))
    await asyncio.sleep(0)
    (reader,) = feed._readers
    feed._states = {}
    reader.changed.set()
    assert await waiting == ("snapshot", {"assistants": []})
    for number in range(10_000):
        changed = queue_feed.QueueState(f"a{number % 3}", number, 0, None, {})
        feed.tell((feed._states or {}) | {changed.assistant: changed})
    assert len(reader.pending) == 3
    told = [await anext(events) for _ in range(3)]
    assert {data["assistant"]: data["queued"] for _, data in told} == {"a0": 9999, "a1": 9997, "a2": 9998}
    await events.aclose()


async def test_for_the_service_token_only(postgres_url: str, valkey: Server) -> None:
    async with replica(await migrated_database(postgres_url), valkey.url) as (_, url), httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/internal/queues")).status_code == 401
        assert (await client.get(f"{url}/internal/queues", headers={"authorization": "Bearer x"})).status_code == 401
