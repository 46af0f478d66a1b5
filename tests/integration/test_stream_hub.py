"""Live text while Redis is emptied, restarted or frozen and workers die: each character once, in order."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fake_worker import FakeWorker, default_pieces
from redis.asyncio import Redis
from servers import Server
from sqlalchemy import text

from ai_assistant.contracts import StreamEntry
from ai_assistant.gateway.stream_events import IdleEvent, QueueEvent
from ai_assistant.streams import Entry, StreamWriter
from ai_assistant.tasks.claim import ClaimedTask
from gateway_app import migrated_database
from gateway_server import Follower, Served, served_gateway


@pytest.fixture
async def gateway(postgres_url: str, own_valkey: Server) -> AsyncIterator[Served]:
    async with served_gateway(await migrated_database(postgres_url), own_valkey.url) as served:
        yield served


def worker(gateway: Served, name: str = "fake-1", **options: Any) -> FakeWorker:
    options = {"seconds_per_piece": 0.04} | options
    return FakeWorker(gateway.state.database, gateway.state.settings.redis_url.get_secret_value(), name, **options)


async def until(follower: Follower, characters: int) -> None:
    async with asyncio.timeout(10):
        while len(follower.text) < characters:
            await asyncio.sleep(0.01)


def follow(gateway: Served, task: dict[str, Any]) -> tuple[Follower, "asyncio.Task[Follower]"]:
    follower = Follower()
    return follower, asyncio.create_task(gateway.follow(task["task_id"], follower))


async def finished(following: "asyncio.Task[Follower]", expected: str) -> None:
    follower = await asyncio.wait_for(following, 20)
    assert follower.final is not None
    assert follower.final["status"] == "succeeded"
    assert follower.final["text"] == follower.text == expected
    assert follower.resets == 0


def answer(fake: FakeWorker) -> str:
    return "".join(fake.pieces(fake.claimed[0]))


@pytest.mark.parametrize("announces", [True, False], ids=["", "end not told"])
async def test_flushall(gateway: Served, own_valkey: Server, announces: bool) -> None:
    task = await gateway.ask()
    async with worker(gateway, announces=announces) as fake:
        follower, following = follow(gateway, task)
        for characters in (20, 60, 100):
            await until(follower, characters)
            own_valkey.flush()
        await finished(following, answer(fake))


async def test_new_reader_after_flushall(gateway: Served, own_valkey: Server) -> None:
    task = await gateway.ask()
    async with worker(gateway) as fake:
        first, following = follow(gateway, task)
        await until(first, 60)
        own_valkey.flush()
        _, late = follow(gateway, task)
        await finished(late, answer(fake))
        await finished(following, answer(fake))


@pytest.mark.parametrize("how", ["restart", "kill", "freeze"])
async def test_redis_goes_and_comes(gateway: Served, own_valkey: Server, how: str) -> None:
    task = await gateway.ask()
    async with worker(gateway, seconds_per_piece=0.06) as fake:
        follower, following = follow(gateway, task)
        await until(follower, 20)
        if how == "freeze":
            own_valkey.pause()
            await asyncio.sleep(1.5)
            own_valkey.resume()
        else:
            await asyncio.to_thread(own_valkey.stop if how == "restart" else own_valkey.kill)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(own_valkey.start)
        before = len(follower.text)
        await until(follower, before + 10)
        assert fake.running, "text came before the end"
        await finished(following, answer(fake))


@pytest.mark.parametrize("flushed", [False, True], ids=["", "and FLUSHALL"])
async def test_worker_dies(gateway: Served, own_valkey: Server, flushed: bool) -> None:
    task = await gateway.ask()
    async with worker(gateway, lease_seconds=0.7) as fake:
        follower, following = follow(gateway, task)
        await until(follower, 60)
        expected = answer(fake)
        await fake.crash()
        if flushed:
            own_valkey.flush()
        async with worker(gateway, "fake-2", seconds_per_piece=0.01):
            await finished(following, expected)


async def test_lost_worker_wakes(gateway: Served, own_valkey: Server) -> None:
    """It is frozen beyond its lease, its successor goes on, Redis is emptied, and it speaks again."""
    task = await gateway.ask()
    async with worker(gateway, lease_seconds=0.7) as lost:
        follower, following = follow(gateway, task)
        await until(follower, 40)
        expected = answer(lost)
        lost.freeze()
        async with worker(gateway, "fake-2"):
            await until(follower, 80)
            own_valkey.flush()
            lost.pieces = lambda _: ["zombie "] * 100
            lost.thaw()
            await finished(following, expected)


async def test_worker_that_cannot_continue_says_so(gateway: Served) -> None:
    task = await gateway.ask()

    def other(task: ClaimedTask) -> list[str]:
        return default_pieces(task) if task.attempt == 1 else ["another ", "answer"]

    async with worker(gateway, lease_seconds=0.7, pieces=other) as first:
        follower, following = follow(gateway, task)
        await until(follower, 40)
        await first.crash()
        async with worker(gateway, "fake-2", pieces=other, starts_over=True):
            await asyncio.wait_for(following, 20)
    assert follower.resets == 1
    assert follower.text == "another answer"


async def test_end_that_nobody_tells(gateway: Served) -> None:
    task = await gateway.ask()
    async with worker(gateway, announces=False, seconds_per_piece=0.01) as fake:
        follower, following = follow(gateway, task)
        await until(follower, 1)
        await finished(following, answer(fake))


async def test_a_stream_with_smaller_ids(gateway: Served, own_valkey: Server) -> None:
    """The server's clock was set back: entries of the stream that is published again have smaller ids."""
    task = await gateway.ask()
    task_id = uuid.UUID(task["task_id"])
    redis: Redis = gateway.state.redis
    async with gateway.state.database.session() as session:
        await session.execute(text("UPDATE tasks SET state = 'running', attempt = 1, lease_until = now() + interval '1 hour'"))
    follower, following = follow(gateway, task)
    key = f"stream:{task_id}"
    await StreamWriter(redis).append([(task_id, Entry(1, StreamEntry.TOKEN, 0, "one "))])
    await until(follower, 4)
    own_valkey.flush()
    await redis.xadd(key, {"a": 1, "k": "t", "o": 0, "t": "one two", "i": ""}, id="5-1")
    await until(follower, 7)
    assert follower.text == "one two"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def open_streams(gateway: Served, count: int) -> None:
    async with asyncio.timeout(15):
        while gateway.state.metrics.streams_open._value.get() != count:
            await asyncio.sleep(0.02)


async def test_few_connections(gateway: Served) -> None:
    """200 open streams of 100 tasks: a handful of connections to Redis, all at their end."""
    tasks = [await gateway.ask(seed=number) for number in range(100)]
    pairs = [follow(gateway, task) for task in tasks for _ in range(2)]
    await open_streams(gateway, 200)
    clients = await gateway.state.redis.client_list()
    assert len(clients) < 20, len(clients)
    async with worker(gateway, seconds_per_piece=0.005, pieces=lambda task: default_pieces(task, 20)):
        for _, following in pairs:
            follower = await asyncio.wait_for(following, 30)
            assert follower.final is not None
            assert follower.text == follower.final["text"]
    await open_streams(gateway, 0)
    assert not gateway.state.hub._channels


async def test_text_so_far_without_a_checkpoint(gateway: Served) -> None:
    task = await gateway.ask()
    async with worker(gateway, heartbeat_seconds=30, lease_seconds=60):
        follower, following = follow(gateway, task)
        await until(follower, 30)
        assert len((await gateway.status(task["task_id"]))["text"]) >= 30
        await following


async def test_idle_streams_are_pinged(gateway: Served) -> None:
    task = await gateway.ask()
    seen: list[object] = []
    async with asyncio.timeout(5):
        async for event in gateway.state.hub.events(uuid.UUID(task["task_id"]), idle_seconds=0.1):
            seen.append(event)
            if len(seen) == 4:
                break
    assert seen == [QueueEvent(1, None), IdleEvent(), IdleEvent(), IdleEvent()]
