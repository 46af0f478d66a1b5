"""/api/chat while Redis or PostgreSQL is away."""

import asyncio
from typing import Any

from fake_worker import FakeWorker, default_pieces
from servers import Server

from gateway_app import migrated_database
from gateway_server import Served, served_gateway


def worker(gateway: Served, **options: Any) -> FakeWorker:
    return FakeWorker(gateway.state.database, gateway.state.settings.redis_url.get_secret_value(), **options)


async def test_without_redis(postgres_url: str, own_valkey: Server) -> None:
    """202 all the same within a second, answers come, and readers see the text from the checkpoint."""
    async with served_gateway(await migrated_database(postgres_url), own_valkey.url) as gateway:
        for outage in (own_valkey.stop, own_valkey.pause):
            own_valkey.start()
            outage()
            loop = asyncio.get_running_loop()
            before = loop.time()
            task = await gateway.ask()
            assert loop.time() - before < 1
            async with worker(gateway, seconds_per_piece=0.05, pieces=lambda task: default_pieces(task, 20)) as fake:
                following = asyncio.create_task(gateway.follow(task["task_id"]))
                while not (await gateway.status(task["task_id"]))["text"]:
                    await asyncio.sleep(0.1)
                assert fake.running, "the text came before the end"
                follower = await asyncio.wait_for(following, 20)
            assert follower.final is not None
            assert follower.final["status"] == "succeeded"
            assert (follower.text, follower.resets) == (follower.final["text"], 0)
            if outage == own_valkey.pause:
                own_valkey.resume()


async def test_without_postgres(own_postgres: Server, valkey: Server) -> None:
    valkey.flush()
    async with served_gateway(await migrated_database(own_postgres.url), valkey.url) as gateway:
        task = await gateway.ask()
        following = asyncio.create_task(gateway.follow(task["task_id"]))
        await asyncio.sleep(0.1)
        own_postgres.stop()
        for method, path in (
            ("POST", "/api/chat"),
            ("GET", f"/api/status/{task['task_id']}"),
            ("DELETE", f"/api/chat/{task['task_id']}"),
        ):
            body = {"message": "hi"} if method == "POST" else None
            response = await gateway.client.request(method, path, json=body)
            assert (response.status_code, response.json()["error"]["code"]) == (503, "database_unavailable")
            assert response.headers["retry-after"]
        assert not following.done(), "streams stay open"
        own_postgres.start()
        async with worker(gateway):
            follower = await asyncio.wait_for(following, 20)
        assert follower.final is not None
        assert follower.final["status"] == "succeeded"
        assert (await gateway.ask())["status"] == "queued"
