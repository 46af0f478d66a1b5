"""Conversations, users, assistants, sessions, health and metrics of a gateway on real servers."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from servers import Server, fresh_database, psql
from sqlalchemy import text, update

from ai_assistant.contracts import CANCEL_CHANNEL, StreamEntry, stream_key
from ai_assistant.database.migrate import head_revision, migrate
from ai_assistant.database.models import Message, Task
from ai_assistant.database.session import Database
from ai_assistant.streams import Entry, StreamWriter
from gateway_app import Gateway, migrated_database, started_gateway

KEYS = "alice:wonderland,carol:chess"
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
async def database_url(postgres_url: str) -> str:
    return await migrated_database(postgres_url)


@pytest.fixture
async def gateway(database_url: str, valkey: Server) -> AsyncIterator[Gateway]:
    valkey.flush()
    options: dict[str, Any] = {"assistant": "assistant", "service_token": "secret", "sweep_seconds": 60}
    async with started_gateway(database_url, valkey.url, **options) as gateway:
        await registered(gateway)
        yield gateway


async def registered(gateway: Gateway) -> None:
    for _ in range(100):
        if (await gateway.client.get("/api/assistants")).json().get("assistants"):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("no assistant")


async def ask(gateway: Gateway, message: str, **options: Any) -> dict[str, Any]:
    response = await gateway.client.post("/api/chat", json={"message": message, **options})
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def start(gateway: Gateway, task: dict[str, Any], text: str, *, checkpoint: str = "") -> None:
    """As if a worker had begun."""
    async with gateway.state.database.session() as session:
        values = {"state": "running", "attempt": 1, "worker": "worker-0", "checkpoint_text": checkpoint}
        statement = update(Task).where(Task.id == uuid.UUID(task["task_id"])).values(**values)
        await session.execute(statement)
        await session.execute(text_lease, {"id": task["task_id"]})
    entry = Entry(1, StreamEntry.TOKEN, 0, text, (1, 2))
    await StreamWriter(gateway.state.redis).append([(uuid.UUID(task["task_id"]), entry)])


text_lease = text("UPDATE tasks SET lease_until = clock_timestamp() + interval '1 minute' WHERE id = :id")


async def finish(gateway: Gateway, task: dict[str, Any], answer: str) -> None:
    async with gateway.state.database.session() as session:
        await session.execute(
            update(Task).where(Task.id == uuid.UUID(task["task_id"])).values(state="succeeded", finish_reason="stop")
        )
        await session.execute(update(Message).where(Message.task_id == uuid.UUID(task["task_id"])).values(text=answer))


async def test_conversations_page_by_page(gateway: Gateway) -> None:
    made = [(await ask(gateway, f"question {number}"))["conversation_id"] for number in range(7)]
    seen: list[str] = []
    following = None
    for _ in range(4):
        query = {"limit": "2"} | ({"after": following} if following else {})
        body = (await gateway.client.get("/api/conversations", params=query)).json()
        seen += [item["id"] for item in body["conversations"]]
        following = body["next"]
    assert seen == made[::-1]
    assert following is None
    for query in ({"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"after": "x"}, {"after": "MjAyNA"}, {"after": "é"}):
        response = await gateway.client.get("/api/conversations", params=query)
        assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request"), query


async def test_reading_a_conversation(gateway: Gateway) -> None:
    first = await ask(gateway, "Say **hi** <b>", user_id="tg:1")
    await finish(gateway, first, "**Hi** <script>x</script>")
    second = await ask(gateway, "and again", conversation_id=first["conversation_id"], user_id="tg:1")
    address = f"/api/conversations/{first['conversation_id']}"
    body = (await gateway.client.get(address, params={"user_id": "tg:1"})).json()
    assert body["title"] == "Say **hi** <b>"
    assert [(item["role"], item["text"], item["status"], item["html"]) for item in body["messages"]] == [
        ("user", "Say **hi** <b>", None, None),
        ("assistant", "**Hi** <script>x</script>", "succeeded", None),
        ("user", "and again", None, None),
        ("assistant", "", "queued", None),
    ]
    assert [item["parent_id"] for item in body["messages"]] == [None, *(item["id"] for item in body["messages"][:3])]
    await start(gateway, second, "Once ⏳ more", checkpoint="Once")
    body = (await gateway.client.get(address, params={"user_id": "tg:1", "html": "true"})).json()
    assert body["messages"][3]["text"] == "Once ⏳ more"
    assert body["messages"][3]["status"] == "running"
    assert "<strong>Hi</strong>" in body["messages"][1]["html"]
    assert "<script>" not in body["messages"][1]["html"]
    assert body["messages"][0]["html"] is None
    for response in (
        await gateway.client.get(address),
        await gateway.client.get(address, params={"user_id": "tg:2"}),
        await gateway.client.get(f"/api/conversations/{uuid.uuid4()}"),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "conversation_not_found")


async def test_renaming(gateway: Gateway) -> None:
    address = f"/api/conversations/{(await ask(gateway, 'x'))['conversation_id']}"
    assert (await gateway.client.patch(address, json={"title": "  Ёжик  "})).json()["title"] == "Ёжик"
    assert (await gateway.client.get(address)).json()["title"] == "Ёжик"
    for body in ({}, {"title": " "}, {"title": "x" * 201}, {"title": 1}, {"title": "a\x00b"}, {"title": "a", "x": 1}):
        assert (await gateway.client.patch(address, json=body)).status_code == 422


async def test_deleting_a_conversation_ends_its_tasks(gateway: Gateway, valkey: Server) -> None:
    running = await ask(gateway, "long one")
    queued = await ask(gateway, "next", conversation_id=running["conversation_id"])
    await start(gateway, running, "text")
    async with Redis.from_url(valkey.url) as listener, listener.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(CANCEL_CHANNEL)
        await pubsub.get_message(timeout=1)
        address = f"/api/conversations/{running['conversation_id']}"
        assert (await gateway.client.delete(address)).status_code == 204
        told = await pubsub.get_message(timeout=2)
    assert told is not None
    assert told["data"].decode() == running["task_id"]
    assert not await gateway.state.redis.exists(stream_key(uuid.UUID(running["task_id"])))
    assert (await gateway.client.get(address)).status_code == (await gateway.client.delete(address)).status_code == 404
    async with gateway.state.database.session() as session:
        tasks = [await session.get_one(Task, uuid.UUID(item["task_id"])) for item in (running, queued)]
    assert [(task.state, task.cancel_requested, task.checkpoint_text) for task in tasks] == [
        ("running", True, ""),
        ("cancelled", True, ""),
    ]


async def test_users(gateway: Gateway) -> None:
    client = gateway.client
    assert (await client.get("/api/users/tg:1")).json()["error"]["code"] == "user_not_found"
    changed = await client.patch("/api/users/tg:1", json={"settings": {"lang": "ru", "voice": True}})
    assert changed.json()["settings"] == {"lang": "ru", "voice": True}
    await client.patch("/api/users/tg:1", json={"settings": {"voice": None, "size": 1.5}})
    assert (await client.get("/api/users/tg:1")).json()["settings"] == {"lang": "ru", "size": 1.5}
    assert (await client.patch("/api/users/me", json={"settings": {}})).json()["id"] == "local"
    assert (await client.patch("/api/users/a/b", json={"settings": {}})).json()["id"] == "a/b"
    too_much = await client.patch("/api/users/tg:1", json={"settings": {"x": "ё" * 8200}})
    assert too_much.status_code == 422
    assert (await client.get("/api/users/tg:1")).json()["settings"] == {"lang": "ru", "size": 1.5}
    assert (await client.patch("/api/users/a%7Fb", json={"settings": {}})).status_code == 422


async def test_two_changes_of_settings_at_once(gateway: Gateway) -> None:
    await gateway.client.patch("/api/users/me", json={"settings": {}})
    changes = [gateway.client.patch("/api/users/me", json={"settings": {str(number): number}}) for number in range(8)]
    await asyncio.gather(*changes)
    assert len((await gateway.client.get("/api/users/me")).json()["settings"]) == 8


async def test_export_and_forget(gateway: Gateway) -> None:
    first = await ask(gateway, 'a "secret" \\ вопрос', user_id="tg:1")
    await finish(gateway, first, "an answer")
    second = await ask(gateway, "other talk", user_id="tg:1")
    await ask(gateway, "of somebody else", user_id="tg:2")
    response = await gateway.client.get("/api/users/tg:1/export")
    assert response.headers["content-disposition"].startswith("attachment")
    export = response.json()
    assert export["user"]["id"] == "tg:1"
    assert [[item["text"] for item in talk["messages"]] for talk in export["conversations"]] == [
        ['a "secret" \\ вопрос', "an answer"],
        ["other talk", ""],
    ]
    assert export["requests"] == []
    await start(gateway, second, "text")
    assert (await gateway.client.delete("/api/users/tg:1")).json() == {"deleted_messages": 4}
    assert (await gateway.client.delete("/api/users/tg:1")).json() == {"deleted_messages": 0}
    assert not await gateway.state.redis.exists(stream_key(uuid.UUID(second["task_id"])))
    assert (await gateway.client.get("/api/users/tg:1/export")).status_code == 404
    left = (await gateway.client.get("/api/conversations", params={"user_id": "tg:2"})).json()
    assert [item["title"] for item in left["conversations"]] == ["of somebody else"]
    async with gateway.state.database.session() as session:
        assert await session.scalar(text("SELECT count(*) FROM tasks")) == 1


async def test_keys_and_sessions(database_url: str, valkey: Server) -> None:
    options: dict[str, Any] = {"api_keys": KEYS, "service_keys": "bot:service"}
    async with started_gateway(database_url, valkey.url, **options) as gateway:
        client = gateway.client
        assert (await client.get("/api/session")).json() == {"required": True, "authenticated": False, "user": None}
        assert (await client.get("/")).status_code == 200
        refused = await client.get("/api/assistants")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert (await client.post("/api/session", json={"key": "wrong"})).status_code == 401
        assert not client.cookies
        https = {"x-forwarded-proto": "https", "origin": "http://localhost:8000"}
        secure = (await client.post("/api/session", json={"key": "wonderland"}, headers=https)).headers["set-cookie"]
        assert re.search("HttpOnly.*SameSite=strict.*Secure", secure)
        client.cookies.clear()
        plain = await client.post("/api/session", json={"key": "wonderland"})
        assert "Secure" not in plain.headers["set-cookie"]
        assert plain.json() == {"required": True, "authenticated": True, "user": "key:alice"}
        assert (await client.patch("/api/users/me", json={"settings": {}})).json()["id"] == "key:alice"
        foreign = {"origin": "https://evil.example"}
        assert (await client.patch("/api/users/me", json={"settings": {}}, headers=foreign)).status_code == 403
        for path in ("/api/users/key:carol", "/api/conversations?user_id=tg:1"):
            assert (await client.get(path)).json()["error"]["code"] == "forbidden"
        assert (await client.get("/api/users/tg:1", headers={"authorization": "Bearer service"})).status_code == 404
        assert "workers" in (await client.get("/readyz")).json()
        assert (await client.delete("/api/session")).status_code == 204
        assert not client.cookies
        assert (await client.get("/api/assistants")).status_code == 401
        assert "workers" not in (await client.get("/readyz")).json()


async def test_without_keys(gateway: Gateway) -> None:
    assert (await gateway.client.get("/api/session")).json() == {"required": False, "authenticated": True, "user": "local"}
    assert "set-cookie" not in (await gateway.client.post("/api/session", json={"key": "x"})).headers
    rebound = await gateway.client.get("/", headers={"host": "evil.example"})
    assert (rebound.status_code, rebound.json()["error"]["code"]) == (403, "forbidden")


async def test_documentation_needs_nothing_from_elsewhere(gateway: Gateway) -> None:
    page = await gateway.client.get("/docs")
    assert page.status_code == 200
    assert "/api/conversations/{conversation_id}" in page.text
    assert not re.search(r"<script|https?:", page.text)
    assert (await gateway.client.get("/openapi.json")).json()["info"]["title"] == "ai-assistant"


async def test_the_assistant_is_registered_when_the_tables_come(postgres_url: str, valkey: Server) -> None:
    url = fresh_database(postgres_url)
    async with started_gateway(url, valkey.url, assistant="helper", instructions="Be kind.") as gateway:
        ready = await gateway.client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["postgresql"] == "up"
        assert ready.json()["schema"] == {"current": None, "needed": head_revision()}
        early = await gateway.client.get("/api/assistants")
        assert (early.status_code, early.json()["error"]["code"]) == (503, "database_unavailable")
        assert "migrate" in early.json()["error"]["message"]
        await migrate(gateway.state.database)
        await registered(gateway)
        body = (await gateway.client.get("/readyz")).json()
        assert body["assistants"] == [{"name": "helper", "state": "ready"}]
        assert (await gateway.client.get("/readyz")).status_code == 200
        psql(url, "UPDATE alembic_version SET version_num = '9999'")  # a later version's replica has migrated
        assert (await gateway.client.get("/readyz")).status_code == 200


async def test_without_redis(database_url: str) -> None:
    async with started_gateway(database_url, NOWHERE, assistant="assistant", sweep_seconds=60) as gateway:
        await registered(gateway)
        ready = await gateway.client.get("/readyz")
        assert (ready.status_code, ready.json()["redis"]) == (200, "down")
        task = await ask(gateway, "x")
        address = f"/api/conversations/{task['conversation_id']}"
        assert (await gateway.client.get(address)).status_code == 200
        assert (await gateway.client.delete(address)).status_code == 204
        page = (await gateway.internal.get("/metrics")).text
        assert 'ai_assistant_tasks{assistant="assistant",state="queued"} 0.0' in page
        assert "ai_assistant_queue_depth{" not in page


async def test_postgresql_stops_freezes_and_comes_back(own_postgres: Server, valkey: Server) -> None:
    database = Database(own_postgres.url)
    await migrate(database)
    await database.close()
    own_postgres.stop()
    async with started_gateway(own_postgres.url, valkey.url, assistant="assistant") as gateway:
        client = gateway.client
        away = await client.get("/api/conversations")
        assert (away.status_code, away.json()["error"]["code"], away.headers["retry-after"]) == (503, "database_unavailable", "3")
        assert (await client.get("/livez")).status_code == (await client.get("/")).status_code == 200
        assert (await client.get("/readyz")).json()["postgresql"] == "down"
        own_postgres.start()
        await registered(gateway)
        assert (await client.get("/readyz")).status_code == 200
        assert "ai_assistant_queue_oldest_seconds{" in (await gateway.internal.get("/metrics")).text
        own_postgres.pause()
        try:
            for _ in range(2):
                begun = time.monotonic()
                frozen, page = await asyncio.gather(client.get("/readyz"), gateway.internal.get("/metrics"))
                assert time.monotonic() - begun < 3.5
                assert frozen.status_code == 503
                assert page.status_code == 200
                assert "ai_assistant_queue_oldest_seconds{" not in page.text
                assert 'ai_assistant_dependency_up{dependency="postgresql"} 0.0' in page.text
        finally:
            own_postgres.resume()
        assert (await client.get("/readyz")).status_code == 200


async def test_numbers_of_the_queue(gateway: Gateway) -> None:
    tasks = [await ask(gateway, f"question {number}") for number in range(3)]
    await start(gateway, tasks[0], "x")
    page = (await gateway.internal.get("/metrics")).text
    assert 'ai_assistant_tasks{assistant="assistant",state="queued"} 2.0' in page
    assert 'ai_assistant_tasks{assistant="assistant",state="running"} 1.0' in page
    assert 'ai_assistant_worker_tasks_running{assistant="assistant",worker="worker-0"} 1.0' in page
    assert 'ai_assistant_queue_depth{assistant="assistant"} 3.0' in page
    assert 'ai_assistant_http_requests_total{method="POST",route="/api/chat",status="202"} 3.0' in page
    assert (await gateway.client.get("/readyz")).json()["workers"] == [
        {"name": "worker-0", "assistant": "assistant", "running": 1}
    ]
    await finish(gateway, tasks[0], "x")
    assert "ai_assistant_worker_tasks_running{" not in (await gateway.internal.get("/metrics")).text


async def test_assistants_by_the_operator(gateway: Gateway) -> None:
    inside = gateway.internal
    address = "/internal/assistants/pirate"
    assert (await inside.put(address, json={})).status_code == 401
    inside.headers["authorization"] = "Bearer secret"
    body = {"uid": "u1", "generation": 2, "instructions": "Arr.", "defaults": {"temperature": 0.5}, "details": {"model": "m"}}
    assert (await inside.put(address, json=body)).json() == {"name": "pirate", "uid": "u1", "generation": 2}
    assert (await inside.put(address, json=body | {"state": "provisioning"})).status_code == 200
    stale = await inside.put(address, json=body | {"generation": 1})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "stale_generation")
    assert (await inside.put(address, json=body | {"uid": "u2", "generation": 1})).status_code == 200
    for wrong in ({"uid": ""}, {"generation": "1"}, {"defaults": {"temperature": 3}}, {"defaults": {"x": 1}}, {"x": 1}):
        assert (await inside.put(address, json=body | wrong)).status_code == 422
    assert (await inside.put("/internal/assistants/No_Name", json=body)).status_code == 422
    known = (await gateway.client.get("/api/assistants")).json()["assistants"]
    assert known[1] == {"name": "pirate", "state": "ready", "details": {"model": "m"}}
    task = await ask(gateway, "Ahoy", assistant="pirate")
    assert (await inside.delete(address, params={"uid": "u1"})).json() == {"removed": False, "failed_tasks": 0}
    assert (await inside.delete(address, params={"uid": "u2"})).json() == {"removed": True, "failed_tasks": 1}
    assert (await inside.delete(address)).json() == {"removed": False, "failed_tasks": 0}
    read = await gateway.client.get(f"/api/conversations/{task['conversation_id']}")
    answer = read.json()["messages"][1]
    assert (answer["status"], answer["error"]["code"]) == ("failed", "assistant_deleted")
    assert (await gateway.client.post("/api/chat", json={"message": "x", "assistant": "pirate"})).status_code == 404
