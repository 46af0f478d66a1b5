"""The sweep: lost wake tokens come back, up to the number of queued rows and never beyond."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fake_worker import FakeWorker
from servers import Server
from sqlalchemy import text

from ai_assistant.contracts import queue_name
from ai_assistant.gateway.state import AppState
from ai_assistant.gateway.sweeper import Sweeper
from gateway_app import migrated_database
from gateway_server import Served, served_gateway

QUEUE = queue_name("assistant")


@pytest.fixture
async def gateway(postgres_url: str, own_valkey: Server) -> AsyncIterator[Served]:
    async with served_gateway(await migrated_database(postgres_url), own_valkey.url, max_queued=100_000) as served:
        yield served


def another_replica(state: AppState) -> Sweeper:
    return Sweeper(state.database, state.redis, state.dispatcher, state.hub, state.metrics, 0.25)


async def depth(gateway: Served) -> int:
    return int(await gateway.state.redis.llen(QUEUE))  # type: ignore[misc]


async def age_tasks(gateway: Served) -> None:
    """As if all had waited beyond the time in which their own tokens arrive."""
    async with gateway.state.database.session() as session:
        await session.execute(text("UPDATE tasks SET created_at = created_at - interval '1 minute'"))


async def make_tasks(gateway: Served, count: int) -> None:
    await asyncio.gather(*(gateway.ask(f"question {number}") for number in range(count)))


async def test_200_tokens_come_back_and_never_more(gateway: Served, own_valkey: Server) -> None:
    """Two replicas sweep; nothing else happens."""
    await make_tasks(gateway, 200)
    assert await depth(gateway) == 200
    await age_tasks(gateway)
    other = another_replica(gateway.state)
    await other.start()
    for _ in range(3):
        own_valkey.flush()
        seen = []
        async with asyncio.timeout(10):
            while not seen or seen[-1] < 200:
                seen.append(await depth(gateway))
                await asyncio.sleep(0.01)
        for _ in range(100):
            seen.append(await depth(gateway))
            await asyncio.sleep(0.01)
        assert max(seen) == 200
        assert seen[-1] == 200
    await other.stop()


async def test_never_more_than_rows_while_tasks_arrive(gateway: Served, own_valkey: Server) -> None:
    await make_tasks(gateway, 100)
    await age_tasks(gateway)
    own_valkey.flush()
    done = asyncio.Event()
    excess = []

    async def arrive() -> None:
        for number in range(60):
            await gateway.ask(f"new {number}")
            await asyncio.sleep(0.03)
        done.set()

    async def look() -> None:
        while not done.is_set():
            tokens = await depth(gateway)
            async with gateway.state.database.session() as session:
                rows = await session.scalar(text("SELECT count(*) FROM tasks WHERE state = 'queued'"))
            # the tokens were counted first, so every one of them has its row
            excess.append(tokens - (rows or 0))
            await asyncio.sleep(0.01)

    await asyncio.gather(arrive(), look())
    assert max(excess) <= 0
    await age_tasks(gateway)
    async with asyncio.timeout(10):
        while await depth(gateway) != 160:
            await asyncio.sleep(0.05)


async def test_surplus_tokens_are_dropped(gateway: Served) -> None:
    tasks = await asyncio.gather(*(gateway.ask() for _ in range(10)))
    for task in tasks[:4]:
        await gateway.client.delete(f"/api/chat/{task['task_id']}")
    await gateway.state.dispatcher.push("assistant", [None] * 5)
    async with asyncio.timeout(5):
        while await depth(gateway) != 6:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    assert await depth(gateway) == 6


async def test_lost_tasks_get_a_token_and_expired_ones_an_end(gateway: Served) -> None:
    task = await gateway.ask()
    expiring = await gateway.ask()
    following = asyncio.create_task(gateway.follow(expiring["task_id"]))
    async with gateway.state.database.session() as session:
        lost = "state = 'running', attempt = 1, lease_until = clock_timestamp() - interval '1 second'"
        await session.execute(text(f"UPDATE tasks SET {lost} WHERE id = :id"), {"id": task["task_id"]})
        late = "deadline = clock_timestamp() - interval '1 second'"
        await session.execute(text(f"UPDATE tasks SET {late} WHERE id = :id"), {"id": expiring["task_id"]})
    follower = await asyncio.wait_for(following, 3)
    assert follower.final_event == "error"
    assert follower.final is not None
    assert (follower.final["status"], follower.final["error"]["code"]) == ("expired", "deadline_exceeded")
    await gateway.state.redis.delete(QUEUE)
    async with asyncio.timeout(8):
        while await depth(gateway) != 1:
            await asyncio.sleep(0.05)
    async with FakeWorker(gateway.state.database, gateway.state.settings.redis_url.get_secret_value(), seconds_per_piece=0):
        assert (await gateway.status(task["task_id"], wait=10))["status"] == "succeeded"


async def test_old_idempotency_keys_are_forgotten(gateway: Served) -> None:
    await gateway.ask(headers={"Idempotency-Key": "old"})
    await gateway.ask(headers={"Idempotency-Key": "new"})
    async with gateway.state.database.session() as session:
        await session.execute(text("UPDATE tasks SET created_at = now() - interval '25 hours' WHERE idempotency_key = 'old'"))
    sweeper = another_replica(gateway.state)
    await sweeper.start()
    async with asyncio.timeout(5):
        while True:
            async with gateway.state.database.session() as session:
                keys = list(await session.scalars(text("SELECT idempotency_key FROM tasks ORDER BY seq")))
            if keys == [None, "new"]:
                break
            await asyncio.sleep(0.05)
    await sweeper.stop()


async def test_sweeping_outlives_outages(
    postgres_url: str, own_postgres: Server, own_valkey: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with served_gateway(await migrated_database(own_postgres.url), own_valkey.url, sweep_seconds=0.1) as gateway:
        await gateway.ask()
        await age_tasks(gateway)
        own_postgres.stop()
        await asyncio.to_thread(own_valkey.stop)
        await asyncio.sleep(1)
        own_postgres.start()
        await asyncio.sleep(1)
        await asyncio.to_thread(own_valkey.start)
        own_valkey.flush()
        async with asyncio.timeout(10):
            while await depth(gateway) != 1:
                await asyncio.sleep(0.05)
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("sweeper")]
    assert sum("waits for PostgreSQL" in line for line in lines) == 1
    assert sum("waits for Redis" in line for line in lines) == 1
