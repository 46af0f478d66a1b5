"""What the ledger knows of a channel's questions, on a real PostgreSQL: edits, retries, and answers that are withdrawn."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from servers import Server

from delivery_ledger import Ledger
from gateway_app import migrated_database, started_gateway


@pytest.fixture
async def ledger(postgres_url: str, valkey: Server) -> AsyncIterator[Ledger]:
    valkey.flush()
    database_url = await migrated_database(postgres_url)
    async with started_gateway(database_url, valkey.url, assistant="assistant", sweep_seconds=60) as gateway:
        while not (await gateway.client.get("/api/assistants")).json().get("assistants"):
            await asyncio.sleep(0.02)
        yield Ledger(gateway)


async def ask(ledger: Ledger, body: dict[str, Any], **target: Any) -> dict[str, Any]:
    delivery = {"channel": "telegram", "target": {"chat_id": 7, **target}}
    response = await ledger.client.post("/api/chat", json={"user_id": "tg:7", "delivery": delivery, **body})
    assert response.status_code == 202, response.text
    return dict(response.json())


async def questions(ledger: Ledger, **query: Any) -> list[dict[str, Any]]:
    params = {"channel": "telegram", "target": "7", **query}
    response = await ledger.client.get("/api/deliveries/questions", params=params)
    assert response.status_code == 200, response.text
    return list(response.json()["questions"])


async def test_a_message_and_its_edit(ledger: Ledger) -> None:
    first = await ask(ledger, {"message": "Hello"}, message_id=10)
    await ask(ledger, {"message": "long", "conversation_id": first["conversation_id"]}, message_id=20, last_message_id=22)
    (asked,) = await questions(ledger, message_id=10)
    assert (asked["task_id"], asked["text"], asked["state"]) == (first["task_id"], "Hello", "waiting")
    assert asked["user_message_id"] == first["user_message_id"]

    again = await ask(ledger, {"message": "Hello!", "edit_of": asked["user_message_id"]}, message_id=10)
    found = await questions(ledger, message_id=10)
    assert [item["task_id"] for item in found] == [first["task_id"], again["task_id"]]
    # every part of a long message is that message
    assert [await questions(ledger, message_id=number) != [] for number in (19, 20, 21, 22, 23)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert await questions(ledger, message_id=10, target="8") == []


async def test_the_last_question_of_a_conversation(ledger: Ledger) -> None:
    first = await ask(ledger, {"message": "one"}, message_id=1)
    other = await ask(ledger, {"message": "two"}, message_id=2, thread_id=5)
    last = await ask(ledger, {"message": "three", "conversation_id": first["conversation_id"]}, message_id=3)
    found = await questions(ledger, conversation_id=first["conversation_id"], limit=1)
    assert [(item["task_id"], item["answer_message_id"]) for item in found] == [(last["task_id"], last["answer_message_id"])]
    assert [item["target"] for item in await questions(ledger, conversation_id=other["conversation_id"])] == [
        {"chat_id": 7, "thread_id": 5, "message_id": 2}
    ]
    await ledger.finish(first["task_id"])
    (claimed,) = await ledger.claim(limit=1)
    await ledger.report(claimed, "in_flight", part=0, parts_total=1)
    await ledger.report(claimed, "part_done", part=0, message_id=100)
    assert [item["text"] for item in await questions(ledger, is_open=True)] == ["two", "three"]


async def test_what_is_withdrawn_is_not_delivered_and_blocks_nothing(ledger: Ledger) -> None:
    running, written, asked = [await ask(ledger, {"message": text}, message_id=at) for at, text in enumerate(("a", "b", "c"))]
    await ledger.finish(written["task_id"])
    for task in (running, written):
        response = await ledger.client.delete(f"/api/chat/{task['task_id']}", params={"withdraw": True})
        assert response.status_code == 200
    assert response.json()["text"] == "An answer."
    assert await ledger.states() == ["skipped", "skipped", "waiting"]
    await ledger.finish(asked["task_id"], "Still there.")
    assert [item["task"]["text"] for item in await ledger.claim()] == ["Still there."]
    # what is being sent goes on
    await ledger.client.delete(f"/api/chat/{asked['task_id']}", params={"withdraw": True})
    assert await ledger.states() == ["skipped", "skipped", "sending"]


async def test_bad_queries(ledger: Ledger) -> None:
    for query in ({"message_id": "x"}, {"message_id": str(2**63)}, {"conversation_id": "x"}, {"limit": "0"}, {"channel": "post"}):
        params = {"channel": "telegram", "target": "7", **query}
        response = await ledger.client.get("/api/deliveries/questions", params=params)
        assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request"), query
