"""What /api/chat refuses, whom it shows what, and that nothing is left behind."""

import base64
import json
import uuid
from collections.abc import AsyncIterator

import pytest
from servers import Server
from sqlalchemy import text

from gateway_app import migrated_database
from gateway_server import Served, served_gateway

KEYS = {"api_keys": "alice:alice-secret,bob:bob-secret", "service_keys": "bot:bot-secret"}


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-secret"}


@pytest.fixture
async def guarded(postgres_url: str, valkey: Server) -> AsyncIterator[Served]:
    """With keys."""
    valkey.flush()
    async with served_gateway(await migrated_database(postgres_url), valkey.url, **KEYS) as served:
        yield served


async def count_tasks(gateway: Served) -> int:
    async with gateway.state.database.session() as session:
        return int(await session.scalar(text("SELECT count(*) FROM tasks")) or 0)


async def test_keys_belong_to_their_principal(guarded: Served) -> None:
    key = {"Idempotency-Key": "k"}
    alice = await guarded.ask(headers=bearer("alice") | key)
    bob = await guarded.ask(headers=bearer("bob") | key)
    assert alice["task_id"] != bob["task_id"]


async def test_only_the_owner_sees_a_task(guarded: Served) -> None:
    task = await guarded.ask(headers=bearer("alice"))
    url = f"/api/status/{task['task_id']}"
    assert (await guarded.client.get(url, headers=bearer("alice"))).status_code == 200
    assert (await guarded.client.get(url, headers=bearer("bot"))).status_code == 200
    for method, path in (
        ("GET", url),
        ("GET", f"/api/chat/{task['task_id']}/stream"),
        ("DELETE", f"/api/chat/{task['task_id']}"),
    ):
        response = await guarded.client.request(method, path, headers=bearer("bob"))
        assert (response.status_code, response.json()["error"]["code"]) == (404, "task_not_found")
    unknown = str(uuid.uuid4())
    for turn, body in (("answer", {"regenerate_of": ...}), ("user", {"message": "hi", "edit_of": ...})):
        refusals = []
        for identifier in (task[f"{turn}_message_id"], unknown):
            order = {name: identifier if value is ... else value for name, value in body.items()}
            response = await guarded.client.post("/api/chat", json=order, headers=bearer("bob"))
            refusals.append((response.status_code, response.text.replace(identifier, "ID")))
        assert refusals[0] == refusals[1], "whether the message exists must not show"
        assert refusals[0][0] == 404
    acted = await guarded.ask(headers=bearer("bot"), user_id="key:alice")
    assert (await guarded.client.get(f"/api/status/{acted['task_id']}", headers=bearer("alice"))).status_code == 200
    refused = await guarded.client.post("/api/chat", json={"message": "hi", "user_id": "tg:1"}, headers=bearer("alice"))
    assert refused.status_code == 403


@pytest.mark.parametrize("moment", ["x", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_page_that_no_answer_named(guarded: Served, moment: str) -> None:
    after = base64.urlsafe_b64encode(f"{moment} {uuid.uuid4()}".encode()).decode()
    response = await guarded.client.get("/api/conversations", params={"after": after}, headers=bearer("alice"))
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


BAD = [
    ({}, 422, "invalid_request"),
    ({"message": ""}, 422, "invalid_request"),
    ({"message": " \n\t"}, 422, "invalid_request"),
    ({"message": 5}, 422, "invalid_request"),
    ({"message": "x" * 2000}, 413, "body_too_large"),
    ({"message": "x" * 70_000}, 413, "body_too_large"),
    ({"message": "nul \x00"}, 422, "invalid_request"),
    ({"message": "half \ud800"}, 422, "invalid_request"),
    ({"message": "hi", "assistant": "nobody"}, 404, "assistant_not_found"),
    ({"message": "hi", "assistant": "no\x00body"}, 422, "invalid_request"),
    ({"message": "hi", "conversation_id": "x"}, 422, "invalid_request"),
    ({"message": "hi", "conversation_id": str(uuid.UUID(int=1))}, 404, "conversation_not_found"),
    ({"message": "hi", "edit_of": str(uuid.UUID(int=1))}, 404, "not_found"),
    ({"message": "hi", "regenerate_of": str(uuid.UUID(int=1))}, 422, "invalid_request"),
    ({"message": "hi", "temperature": 3}, 422, "invalid_request"),
    ({"message": "hi", "temperature": float("nan")}, 422, "invalid_request"),
    ({"message": "hi", "max_tokens": 0}, 422, "invalid_request"),
    ({"message": "hi", "max_tokens": 1.5}, 422, "invalid_request"),
    ({"message": "hi", "stop": ["x"] * 17}, 422, "invalid_request"),
    ({"message": "hi", "stop": ""}, 422, "invalid_request"),
    ({"message": "hi", "temprature": 1}, 422, "invalid_request"),
]


async def test_bad_requests_leave_nothing(postgres_url: str, valkey: Server) -> None:
    valkey.flush()
    limits = {"max_message_chars": 1000, "max_body_bytes": 60_000}
    async with served_gateway(await migrated_database(postgres_url), valkey.url, **limits) as gateway:
        for body, status, code in BAD:
            content = json.dumps(body).encode()
            response = await gateway.client.post("/api/chat", content=content, headers={"Content-Type": "application/json"})
            assert (response.status_code, response.json()["error"]["code"]) == (status, code), (body, response.text)
        for key in ("", "x" * 256, "tab\tulator"):
            response = await gateway.client.post("/api/chat", json={"message": "hi"}, headers={"Idempotency-Key": key})
            assert response.status_code == 422, key
        for path in ("/api/status/x", "/api/chat/x/stream"):
            response = await gateway.client.get(path)
            assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
        unknown = uuid.uuid4()
        for path in (f"/api/status/{unknown}", f"/api/chat/{unknown}/stream"):
            response = await gateway.client.get(path)
            assert (response.status_code, response.json()["error"]["code"]) == (404, "task_not_found")
        assert await count_tasks(gateway) == 0
        task = await gateway.ask()
        for value in ("-1", "x", "1.5", "9" * 30):
            response = await gateway.client.get(f"/api/chat/{task['task_id']}/stream", headers={"Last-Event-ID": value})
            assert response.status_code == 422
        for value in ("-1", "61", "nan"):
            assert (await gateway.client.get(f"/api/status/{task['task_id']}", params={"wait": value})).status_code == 422
        assert await gateway.ask(stop="a stop string that is longer than sixteen")


async def test_too_many_wait(postgres_url: str, valkey: Server) -> None:
    valkey.flush()
    async with served_gateway(await migrated_database(postgres_url), valkey.url, max_queued=2) as gateway:
        await gateway.ask()
        await gateway.ask()
        response = await gateway.client.post("/api/chat", json={"message": "hi"})
        assert (response.status_code, response.json()["error"]["code"]) == (429, "overloaded")
        assert int(response.headers["retry-after"]) > 0
