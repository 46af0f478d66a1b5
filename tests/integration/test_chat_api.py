"""/api/chat and what belongs to it, over real connections to a real server."""

import asyncio
import itertools
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fake_worker import FakeWorker
from servers import Server
from sqlalchemy import select, text

from ai_assistant.contracts import queue_name
from ai_assistant.database.models import Task
from gateway_app import migrated_database
from gateway_server import Follower, Served, served_gateway


@pytest.fixture
async def gateway(postgres_url: str, valkey: Server) -> AsyncIterator[Served]:
    valkey.flush()
    async with served_gateway(await migrated_database(postgres_url), valkey.url) as served:
        yield served


def worker(gateway: Served, **options: Any) -> FakeWorker:
    return FakeWorker(gateway.state.database, gateway.state.settings.redis_url.get_secret_value(), **options)


async def count_tasks(gateway: Served) -> int:
    async with gateway.state.database.session() as session:
        return int(await session.scalar(text("SELECT count(*) FROM tasks")) or 0)


async def test_ask_and_answer(gateway: Served) -> None:
    response = await gateway.client.post("/api/chat", json={"message": "Привет", "seed": 5, "max_tokens": 50})
    assert response.status_code == 202
    accepted = response.json()
    assert response.headers["location"] == f"/api/status/{accepted['task_id']}"
    assert accepted["status"] == "queued"
    assert accepted["queue"] == {"position": 1, "eta_seconds": None}
    assert (await gateway.status(accepted["task_id"]))["text"] == ""
    async with worker(gateway) as fake:
        status = await gateway.status(accepted["task_id"], wait=20)
        assert status["status"] == "succeeded"
        assert status["text"] == "".join(fake.pieces(fake.claimed[0]))
        assert status["usage"] == {"prompt_tokens": 7, "completion_tokens": 50}
        assert status["finish_reason"] == "length"
        assert status["queue"] is None
        defaults = gateway.state.settings
        sampling = {"max_tokens": 50, "temperature": defaults.temperature, "top_p": defaults.top_p, "seed": 5}
        assert fake.claimed[0].sampling == sampling
    conversation = (await gateway.client.get(f"/api/conversations/{accepted['conversation_id']}")).json()
    assert [item["text"] for item in conversation["messages"]] == ["Привет", status["text"]]


async def test_stream(gateway: Served) -> None:
    first, second = await gateway.ask("one"), await gateway.ask("two")
    following = asyncio.create_task(gateway.follow(second["task_id"]))
    await asyncio.sleep(0.3)
    async with worker(gateway):
        follower = await following
        assert (await gateway.status(first["task_id"], wait=20))["status"] == "succeeded"
    assert follower.queue[0] == {"position": 2, "eta_seconds": None}
    assert follower.final_event == "done"
    assert follower.final is not None
    assert follower.final["text"] == follower.text
    assert follower.final == await gateway.status(second["task_id"])


async def test_stream_is_told_at_once(gateway: Served) -> None:
    """The first token comes over Redis, not with the next look at PostgreSQL."""
    task = await gateway.ask()
    loop = asyncio.get_running_loop()
    async with worker(gateway, seconds_per_piece=0.2, heartbeat_seconds=30, lease_seconds=60) as fake:
        following = asyncio.create_task(gateway.follow(task["task_id"], characters=1))
        while not fake.running or not next(iter(fake.running.values())).text:
            await asyncio.sleep(0.002)
        written = loop.time()
        await following
        assert loop.time() - written < 0.15


async def test_headers_of_a_stream(gateway: Served) -> None:
    task = await gateway.ask()
    async with gateway.client.stream("GET", f"/api/chat/{task['task_id']}/stream") as response:
        assert response.headers["cache-control"].startswith("no-cache")
        assert response.headers["x-accel-buffering"] == "no"
        async for line in response.aiter_lines():
            assert line == "retry: 1000"
            break


async def test_streams_resume_at_any_cut(gateway: Served) -> None:
    """100 readers, each cut off at random places: each has the whole answer, byte for byte."""
    chance = random.Random(7)
    tasks = [await gateway.ask(f"question {number}", seed=number) for number in range(10)]

    async def read(task_id: str, cuts: list[int]) -> Follower:
        follower = Follower()
        for cut in sorted(cuts):
            if len(follower.text) < cut:
                await gateway.follow(task_id, follower, characters=cut)
        return await gateway.follow(task_id, follower) if follower.final is None else follower

    async with worker(gateway):
        readers = [
            read(task["task_id"], [chance.randint(1, 120) for _ in range(chance.randint(1, 6))])
            for task in tasks
            for _ in range(10)
        ]
        followers = await asyncio.gather(*readers)
    for index, follower in enumerate(followers):
        status = await gateway.status(tasks[index // 10]["task_id"])
        assert follower.text.encode() == status["text"].encode()
        assert follower.resets == 0


async def test_stream_of_a_finished_task(gateway: Served) -> None:
    task = await gateway.ask()
    async with worker(gateway, seconds_per_piece=0):
        status = await gateway.status(task["task_id"], wait=20)
    for offset in (0, 5, len(status["text"])):
        follower = Follower(status["text"][:offset], str(offset) if offset else None)
        await gateway.follow(task["task_id"], follower)
        assert (follower.text, follower.resets) == (status["text"], 0)
    response = await gateway.client.get(f"/api/chat/{task['task_id']}/stream", params={"last_event_id": "7"})
    assert '"offset":7' in response.text
    beyond = Follower("x" * 10_000, "10000")
    assert (await gateway.follow(task["task_id"], beyond)).text == status["text"]


async def test_a_reader_that_leaves_does_not_cancel(gateway: Served) -> None:
    task = await gateway.ask()
    async with worker(gateway, seconds_per_piece=0.02):
        await gateway.follow(task["task_id"], characters=3)
        assert (await gateway.status(task["task_id"], wait=20))["status"] == "succeeded"


async def test_one_key_one_task(gateway: Served) -> None:
    """100 parallel identical requests with one Idempotency-Key."""
    key = {"Idempotency-Key": "tg:1:42"}
    answers = await asyncio.gather(*(gateway.ask("the same", headers=key, temperature=0.5) for _ in range(100)))
    assert len({item["task_id"] for item in answers}) == 1
    assert await count_tasks(gateway) == 1
    assert await gateway.state.redis.llen(queue_name("assistant")) == 1
    conversations = (await gateway.client.get("/api/conversations")).json()["conversations"]
    assert len(conversations) == 1
    other = await gateway.client.post("/api/chat", json={"message": "other", "temperature": 0.5}, headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    # written in another order, it is the same request
    same = await gateway.client.post(
        "/api/chat", content=b'{"temperature": 5e-1, "message": "the same"}', headers={**key, "Content-Type": "application/json"}
    )
    assert same.json()["task_id"] == answers[0]["task_id"]
    async with gateway.state.database.session() as session:
        await session.execute(text("UPDATE tasks SET created_at = now() - interval '25 hours'"))
    assert (await gateway.ask("other", headers=key))["task_id"] != answers[0]["task_id"]


async def test_cancel_queued(gateway: Served) -> None:
    task = await gateway.ask()
    following = asyncio.create_task(gateway.follow(task["task_id"]))
    await asyncio.sleep(0.1)
    response = await gateway.client.delete(f"/api/chat/{task['task_id']}")
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    follower = await asyncio.wait_for(following, 1)
    assert (follower.final_event, follower.text) == ("done", "")
    again = await gateway.client.delete(f"/api/chat/{task['task_id']}")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


async def test_cancel_running_keeps_the_partial_text(gateway: Served) -> None:
    task = await gateway.ask()
    async with worker(gateway, seconds_per_piece=0.05):
        following = asyncio.create_task(gateway.follow(task["task_id"]))
        while not (await gateway.status(task["task_id"]))["text"]:
            await asyncio.sleep(0.02)
        response = await gateway.client.delete(f"/api/chat/{task['task_id']}")
        assert response.json()["status"] == "cancelled"
        follower = await following
    assert follower.text
    assert response.json()["text"] == follower.text
    assert response.json()["usage"]["completion_tokens"] > 0


async def test_cancel_of_a_worker_that_does_not_listen(gateway: Served) -> None:
    task = await gateway.ask()
    async with worker(gateway, seconds_per_piece=0.05, heartbeat_seconds=1.8, lease_seconds=60):
        while not (await gateway.status(task["task_id"]))["text"]:
            await asyncio.sleep(0.02)
        before = asyncio.get_running_loop().time()
        response = await gateway.client.delete(f"/api/chat/{task['task_id']}")
        assert asyncio.get_running_loop().time() - before < 1.5
        assert response.json()["status"] == "cancelling"
        assert response.json()["text"]
        assert (await gateway.status(task["task_id"], wait=20))["status"] == "cancelled"


async def test_two_messages_of_one_conversation_follow_each_other(gateway: Served) -> None:
    first = await gateway.ask("one")
    turns = [gateway.ask(f"turn {number}", conversation_id=first["conversation_id"]) for number in range(2)]
    tasks = [first, *await asyncio.gather(*turns)]
    async with worker(gateway, seconds_per_piece=0.002) as fake:
        for task in tasks:
            assert (await gateway.status(task["task_id"], wait=20))["status"] == "succeeded"
        claimed = fake.claimed
    assert len({item.id for item in claimed}) == 3
    async with gateway.state.database.session() as session:
        rows = list(await session.scalars(select(Task).order_by(Task.seq)))
    for earlier, later in itertools.pairwise(rows):
        assert earlier.finished_at is not None
        assert later.started_at is not None
        assert earlier.finished_at <= later.started_at


async def test_a_turn_goes_to_the_conversations_assistant(gateway: Served) -> None:
    async with gateway.state.database.session() as session:
        await session.execute(text("INSERT INTO assistants (name) VALUES ('poet')"))
    first = await gateway.ask(assistant="poet")
    second = await gateway.ask(conversation_id=first["conversation_id"])
    async with gateway.state.database.session() as session:
        task = await session.get(Task, uuid.UUID(second["task_id"]))
    assert task is not None
    assert task.assistant == "poet"


async def test_failed_task(gateway: Served) -> None:
    task = await gateway.ask()
    error = {"code": "prompt_too_long", "message": "The message does not fit."}
    async with worker(gateway, pieces=lambda _: [], fails_with=error):
        follower = await gateway.follow(task["task_id"])
    assert follower.final_event == "error"
    assert follower.final is not None
    assert follower.final["error"] == error


async def test_deleted_task_ends_its_stream(gateway: Served) -> None:
    task = await gateway.ask()
    following = asyncio.create_task(gateway.follow(task["task_id"]))
    await asyncio.sleep(0.1)
    assert (await gateway.client.delete("/api/users/local")).status_code < 300
    follower = await asyncio.wait_for(following, 3)
    assert follower.final is not None
    assert follower.final["status"] == "cancelled"


async def test_stopping_ends_streams_at_once(gateway: Served) -> None:
    task = await gateway.ask()
    following = asyncio.create_task(gateway.follow(task["task_id"]))
    await asyncio.sleep(0.1)
    await gateway.state.end_streams()
    follower = await asyncio.wait_for(following, 1)
    assert follower.final is None


async def test_long_poll_returns_early(gateway: Served) -> None:
    task = await gateway.ask()
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert (await gateway.status(task["task_id"], wait=0.3))["status"] == "queued"
    assert 0.25 < loop.time() - before < 2
    waiting = [asyncio.create_task(gateway.status(task["task_id"], wait=30)) for _ in range(20)]
    await asyncio.sleep(0.1)
    async with worker(gateway, seconds_per_piece=0.002):
        for status in await asyncio.wait_for(asyncio.gather(*waiting), 5):
            assert status["status"] == "succeeded"
