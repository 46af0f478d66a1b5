"""Who wrote what in a group, in which voice it is answered, and what becomes of an answer that is not wanted any more."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from servers import Server

from ai_assistant.contracts import CANCEL_CHANNEL
from ai_assistant.database.models import Message, Task
from delivery_ledger import Ledger
from gateway_app import migrated_database, started_gateway

GROUP = "tg-chat:-9"


@pytest.fixture
async def ledger(postgres_url: str, valkey: Server) -> AsyncIterator[Ledger]:
    valkey.flush()
    options: dict[str, Any] = {"assistant": "assistant", "instructions": "Be kind.", "service_token": "secret"}
    async with started_gateway(await migrated_database(postgres_url), valkey.url, sweep_seconds=60, **options) as gateway:
        while not (await gateway.client.get("/api/assistants")).json().get("assistants"):
            await asyncio.sleep(0.02)
        yield Ledger(gateway)


async def ask(ledger: Ledger, message: str | None = "Hello", **more: Any) -> dict[str, Any]:
    body = {"user_id": GROUP} | ({"message": message} if message else {}) | more
    response = await ledger.client.post("/api/chat", json=body)
    assert response.status_code == 202, response.text
    return dict(response.json())


async def row(ledger: Ledger, asked: dict[str, Any]) -> Task:
    async with ledger.gateway.state.database.session() as session:
        return await session.get_one(Task, uuid.UUID(asked["task_id"]))


async def start(ledger: Ledger, asked: dict[str, Any], text: str = "Once") -> None:
    await ledger.sql(
        "UPDATE tasks SET state = 'running', attempt = 1, lease_until = clock_timestamp() + interval '1 minute',"
        f" checkpoint_text = '{text}' WHERE id = '{asked['task_id']}'"
    )


async def test_personas_are_pinned_and_kept_for_another_answer(ledger: Ledger) -> None:
    plain = await ask(ledger)
    assert (await row(ledger, plain)).instructions == "Be kind."
    pirate = await ask(ledger, instructions="  Talk like a pirate. ", conversation_id=plain["conversation_id"])
    assert (await row(ledger, pirate)).instructions == "Be kind.\n\nTalk like a pirate."
    again = await ask(ledger, None, regenerate_of=pirate["answer_message_id"])
    edited = await ask(ledger, "Hi", edit_of=pirate["user_message_id"])
    for asked in (again, edited):
        assert (await row(ledger, asked)).instructions == "Be kind.\n\nTalk like a pirate."
    other = await ask(ledger, None, regenerate_of=again["answer_message_id"], instructions="Be a poet.")
    assert (await row(ledger, other)).persona == "Be a poet."
    none = await ask(ledger, None, regenerate_of=again["answer_message_id"], instructions="")
    after = await ask(ledger, "and now?", conversation_id=plain["conversation_id"])
    for asked in (none, after):
        assert ((await row(ledger, asked)).persona, (await row(ledger, asked)).instructions) == (None, "Be kind.")


async def test_an_assistant_that_takes_no_persona(ledger: Ledger) -> None:
    inside = ledger.gateway.internal
    inside.headers["authorization"] = "Bearer secret"
    registration: dict[str, Any] = {"uid": "u", "generation": 1}
    await inside.put("/internal/assistants/strict", json=registration)
    asked = await ask(ledger, assistant="strict", instructions="Be a poet.")
    await inside.put("/internal/assistants/strict", json=registration | {"generation": 2, "details": {"persona": False}})
    assert {"name": "strict", "state": "ready", "details": {"persona": False}} in (
        await ledger.client.get("/api/assistants")
    ).json()["assistants"]
    order = {"message": "x", "user_id": GROUP, "assistant": "strict", "instructions": "Be a poet."}
    refused = await ledger.client.post("/api/chat", json=order)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "persona_forbidden")
    assert (await row(ledger, await ask(ledger, assistant="strict", instructions=""))).persona is None
    # what was allowed then is not forbidden by asking again
    assert (await row(ledger, await ask(ledger, None, regenerate_of=asked["answer_message_id"]))).persona is None


async def test_for_services_and_within_limits(postgres_url: str, valkey: Server) -> None:
    keys = {"api_keys": "alice:wonderland", "service_keys": "bot:botkey"}
    async with started_gateway(await migrated_database(postgres_url), valkey.url, assistant="assistant", **keys) as gateway:
        headers = {"authorization": "Bearer wonderland"}
        for more in ({"author": "tg:1"}, {"instructions": "x"}, {"author": "key:alice"}):
            refused = await gateway.client.post("/api/chat", json={"message": "x"} | more, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        headers = {"authorization": "Bearer botkey"}
        for more in ({"author": ""}, {"author": "a\nb"}, {"author": "x" * 256}, {"instructions": "x" * 4001}):
            refused = await gateway.client.post("/api/chat", json={"message": "x"} | more, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")


async def test_authors_are_noted_where_they_are_not_the_owner(ledger: Ledger) -> None:
    mine, own = await ask(ledger, author="tg:1"), await ask(ledger, user_id="tg:1", author="tg:1")
    async with ledger.gateway.state.database.session() as session:
        authors = [(await session.get_one(Message, uuid.UUID(item["user_message_id"]))).author_id for item in (mine, own)]
    assert (authors[0] is not None, authors[1]) == (True, None)
    assert (await row(ledger, mine)).author_id == authors[0]


@pytest.mark.parametrize("way", ["edit_of", "regenerate_of"])
async def test_an_answer_that_is_being_written_is_not_wanted_any_more(ledger: Ledger, valkey: Server, way: str) -> None:
    first = await ask(ledger)
    await start(ledger, first)
    async with Redis.from_url(valkey.url) as listener, listener.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(CANCEL_CHANNEL)
        await pubsub.get_message(timeout=1)
        if way == "edit_of":
            second = await ask(ledger, "Hi", edit_of=first["user_message_id"])
        else:
            second = await ask(ledger, None, regenerate_of=first["answer_message_id"])
        told = await pubsub.get_message(timeout=2)
    assert told is not None
    assert told["data"].decode() == first["task_id"]
    assert ((await row(ledger, first)).state, (await row(ledger, first)).cancel_requested) == ("running", True)
    third = await ask(ledger, None, regenerate_of=second["answer_message_id"])
    assert [(await row(ledger, item)).state for item in (second, third)] == ["cancelled", "queued"]
    assert (await ledger.client.get(f"/api/status/{second['task_id']}")).json()["status"] == "cancelled"


async def test_later_turns_stay_on_their_branch(ledger: Ledger) -> None:
    first = await ask(ledger)
    later = await ask(ledger, "more", conversation_id=first["conversation_id"])
    await ask(ledger, "Hi", edit_of=first["user_message_id"])
    assert [(await row(ledger, item)).state for item in (first, later)] == ["cancelled", "queued"]


async def test_what_nobody_has_seen_is_not_delivered(ledger: Ledger) -> None:
    delivery = {"channel": "telegram", "target": {"chat_id": -9}}
    unseen, seen, queued = [await ask(ledger, delivery=delivery) for _ in range(3)]
    for asked in (unseen, seen):
        await start(ledger, asked)
    note = {"task_id": seen["task_id"], "channel": "telegram", "message_id": 5}
    await ledger.client.put("/api/deliveries/preview", json=note)
    for asked in (unseen, seen, queued):
        await ask(ledger, "Hi", edit_of=asked["user_message_id"], delivery=delivery)
    assert await ledger.states() == ["skipped", "waiting", "skipped", "waiting", "waiting", "waiting"]
    for asked in (unseen, seen):
        await ledger.finish(asked["task_id"], "Once", state="cancelled")
    (claimed,) = await ledger.claim()
    assert (claimed["task"]["task_id"], claimed["preview_message_id"]) == (seen["task_id"], 5)
    # the preview may have been sent while the answer was given up: the bot is told
    late = await ledger.client.put("/api/deliveries/preview", json=note | {"task_id": unseen["task_id"]})
    assert late.json()["state"] == "skipped"


async def test_the_same_edit_twice_is_one(ledger: Ledger) -> None:
    first = await ask(ledger)
    body = {"user_id": GROUP, "message": "Hi", "edit_of": first["user_message_id"]}
    headers = {"Idempotency-Key": "tg:1:2"}
    answers = await asyncio.gather(*(ledger.client.post("/api/chat", json=body, headers=headers) for _ in range(5)))
    assert len({item.json()["task_id"] for item in answers}) == 1
    assert await ledger.sql("SELECT count(*) FROM tasks WHERE state = 'queued'") == 1
