"""Numbers for /stats: a person's own, a group's, and the platform's."""

import asyncio
from typing import Any

from servers import Server

from delivery_ledger import Ledger
from gateway_app import migrated_database, started_gateway


async def test_numbers_of_people_and_the_platform(postgres_url: str, valkey: Server) -> None:
    valkey.flush()
    keys = {"api_keys": "alice:wonderland", "service_keys": "bot:botkey", "assistant": "assistant"}
    async with started_gateway(await migrated_database(postgres_url), valkey.url, sweep_seconds=60, **keys) as gateway:
        client, ledger = gateway.client, Ledger(gateway)
        client.headers["authorization"] = "Bearer botkey"
        while not (await client.get("/api/assistants")).json().get("assistants"):
            await asyncio.sleep(0.02)
        assert (await client.get("/api/users/tg:1/stats")).status_code == 404
        await ledger.answered(1)
        await ledger.ask(1)
        group: dict[str, Any] = {"message": "x", "user_id": "tg-chat:-9"}
        asked = [(await client.post("/api/chat", json=group | {"author": name})).json() for name in ("tg:1", "tg:2")]
        for item in asked:
            await ledger.finish(item["task_id"])
        await ledger.sql("UPDATE tasks SET prompt_tokens = 10, completion_tokens = 3 WHERE state = 'succeeded'")
        await client.patch("/api/users/tg-bot:77", json={"settings": {}})
        await client.patch("/api/users/tg:3", json={"settings": {}})

        async def stats(name: str) -> dict[str, Any]:
            found: dict[str, Any] = (await client.get(f"/api/users/{name}/stats")).json()
            assert found.pop("since")
            return found

        names = ("messages", "answers", "prompt_tokens", "completion_tokens", "conversations")
        assert await stats("tg:1") == dict(zip(names, (3, 2, 20, 6, 2), strict=True))
        assert await stats("tg:2") == dict(zip(names, (1, 1, 10, 3, 0), strict=True))
        assert await stats("tg-chat:-9") == dict(zip(names, (2, 2, 20, 6, 2), strict=True))
        assert await stats("tg:3") == dict.fromkeys(names, 0)
        numbers = {"people": 3, "groups": 1, "active_people": 2, "deliveries": {"telegram": {"pending": 1, "waiting": 1}}}
        assert (await client.get("/api/stats")).json() == numbers
        await ledger.sql("UPDATE tasks SET created_at = now() - interval '25 hours'")
        assert (await client.get("/api/stats")).json()["active_people"] == 0
        client.headers["authorization"] = "Bearer wonderland"
        assert (await client.get("/api/stats")).status_code == 403
        assert (await client.get("/api/users/me/stats")).status_code == 404
