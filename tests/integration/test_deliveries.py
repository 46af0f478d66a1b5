"""The delivery ledger on a real PostgreSQL: what is owed, in which order, by whom, and what is known of it afterwards."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from servers import Server

from ai_assistant.contracts import EVENTS_CHANNEL
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


async def test_from_question_to_delivery(ledger: Ledger) -> None:
    task_id = await ledger.ask(7)
    assert (await ledger.states(), await ledger.claim()) == (["waiting"], [])
    assert (await ledger.listed(state="pending"))["deliveries"] == []
    await ledger.finish(task_id, "Привет! 😀")
    listed = await ledger.listed(state="pending")
    assert (listed["pending"], [item["task_id"] for item in listed["deliveries"]]) == (1, [task_id])
    (claimed,) = await ledger.claim()
    assert claimed["task"]["text"] == "Привет! 😀"
    assert claimed["task"]["task_id"] == task_id
    assert (claimed["target"], claimed["user_id"]) == ({"chat_id": 7, "language": "ru"}, "tg:7")
    assert (claimed["attempt"], claimed["parts"], claimed["uncertain"]) == (1, [], False)
    assert (await ledger.states(), await ledger.claim()) == (["sending"], [])
    for part in range(2):
        await ledger.report(claimed, "in_flight", part=part, parts_total=2)
        done = await ledger.report(claimed, "part_done", part=part, message_id=100 + part)
    assert done == {"state": "delivered", "parts_done": 2}
    (item,) = (await ledger.listed(state="delivered"))["deliveries"]
    assert (item["parts"], item["parts_total"], item["last_error"]) == ([100, 101], 2, None)
    assert (await ledger.listed())["pending"] == 0


async def test_order_and_one_at_a_time(ledger: Ledger) -> None:
    first, second, other = [await ledger.ask(chat) for chat in (7, 7, 8)]
    await ledger.finish(second)
    await ledger.finish(other)
    # the second answer to chat 7 does not overtake the first one, which is not written yet
    (claimed,) = await ledger.claim()
    assert claimed["task"]["task_id"] == other
    await ledger.finish(first)
    (claimed,) = await ledger.claim()
    assert claimed["task"]["task_id"] == first
    assert await ledger.claim() == []
    await ledger.report(claimed, "delivered")
    (claimed,) = await ledger.claim()
    assert claimed["task"]["task_id"] == second


async def test_topics_have_orders_of_their_own_and_share_limits(ledger: Ledger) -> None:
    await ledger.ask(-9, thread=1)
    written = [await ledger.answered(-9, thread=thread) for thread in (2, 3)]
    (claimed,) = await ledger.claim()
    assert claimed["task"]["task_id"] == written[0]
    await ledger.report(claimed, "retry_after", seconds=60)
    assert await ledger.claim() == []


async def test_parallel_claims_take_each_target_once(ledger: Ledger) -> None:
    for chat in (1, 2, 3, 4):
        for thread in (1, 2):
            await ledger.answered(chat, thread=thread)
    taken = [item for claimed in await asyncio.gather(*(ledger.claim(limit=2) for _ in range(8))) for item in claimed]
    assert sorted(item["target"]["chat_id"] for item in taken) == [1, 2, 3, 4]


async def test_lease_that_runs_out(ledger: Ledger) -> None:
    await ledger.answered(7)
    (first,) = await ledger.claim()
    await ledger.expire()
    (second,) = await ledger.claim()
    assert (second["attempt"], second["uncertain"]) == (2, False)  # nothing had been begun
    await ledger.report(second, "in_flight", part=0, parts_total=3)
    await ledger.report(second, "part_done", part=0, message_id=11)
    await ledger.report(second, "in_flight", part=1, parts_total=3)
    await ledger.expire()
    (third,) = await ledger.claim()
    assert (third["parts"], third["parts_total"], third["uncertain"]) == ([11], 3, True)
    for stale in (first, second):
        status, body = await ledger.try_report(stale, "part_done", part=1, message_id=12)
        assert (status, body["error"]["code"]) == (409, "stale_attempt")
    await ledger.report(third, "in_flight", part=1, parts_total=3)
    # a flood-control refusal of the resend does not make the first sending any more certain
    await ledger.report(third, "retry_after", seconds=0)
    (fourth,) = await ledger.claim()
    assert fourth["uncertain"]
    await ledger.report(fourth, "in_flight", part=1, parts_total=3)
    await ledger.report(fourth, "part_done", part=1, message_id=13)
    await ledger.report(fourth, "released")
    (fifth,) = await ledger.claim()
    assert (fifth["parts"], fifth["uncertain"]) == ([11, 13], False)


async def test_holder_goes_on_until_somebody_else_claims(ledger: Ledger) -> None:
    await ledger.answered(7)
    (claimed,) = await ledger.claim()
    await ledger.expire()
    await ledger.report(claimed, "in_flight", part=0, parts_total=2)  # also renews
    assert await ledger.claim() == []
    # a report whose answer was lost is told again
    for _ in range(2):
        assert await ledger.report(claimed, "part_done", part=0, message_id=1) == {"state": "sending", "parts_done": 1}
    for wrong in ({"part": 0}, {"part": 2}):
        status, _ = await ledger.try_report(claimed, "in_flight", parts_total=2, **wrong)
        assert status == 422


async def test_retry_after_holds_one_target_back(ledger: Ledger) -> None:
    for chat in (7, 7, 8):
        await ledger.answered(chat)
    seven, eight = await ledger.claim()
    await ledger.report(seven, "in_flight", part=0, parts_total=1)
    loop = asyncio.get_running_loop()
    told_at = loop.time()
    assert (await ledger.report(seven, "retry_after", seconds=1.2))["state"] == "pending"
    await ledger.report(eight, "delivered")
    await ledger.answered(8)
    assert [item["target"]["chat_id"] for item in await ledger.claim()] == [8]
    (again,) = await ledger.claim(wait=10)
    assert 1.2 <= loop.time() - told_at < 4
    assert (again["id"], again["attempt"], again["uncertain"]) == (seven["id"], 2, False)


async def test_failures_come_again_after_growing_pauses(ledger: Ledger) -> None:
    await ledger.answered(7)
    seconds = []
    for number in range(3):
        (claimed,) = await ledger.claim()
        assert claimed["uncertain"] == (number == 2)
        await ledger.report(claimed, "in_flight", part=0, parts_total=1)
        await ledger.report(claimed, "failed", error="x" * 9000, uncertain=number == 1)
        (item,) = (await ledger.listed(state="pending"))["deliveries"]
        assert item["last_error"] == "x" * 500
        seconds.append(await ledger.sql("SELECT round(extract(epoch FROM not_before - updated_at)) FROM deliveries"))
        assert await ledger.claim() == []
        await ledger.sql("UPDATE deliveries SET not_before = now()")
    assert seconds == [1, 2, 4]


async def test_dead_targets_are_remembered_until_they_write_again(ledger: Ledger) -> None:
    await ledger.answered(7)
    waiting = await ledger.ask(7, thread=1)
    await ledger.answered(8)
    (claimed, _) = await ledger.claim()
    assert (await ledger.report(claimed, "dead", error="bot was blocked by the user"))["state"] == "dead"
    await ledger.finish(waiting)
    assert await ledger.claim() == []
    assert await ledger.states() == ["dead", "dead", "sending"]
    (item, _) = (await ledger.listed(state="dead", target="7"))["deliveries"]
    assert item["last_error"] == "bot was blocked by the user"
    task_id = await ledger.answered(7)
    (claimed,) = await ledger.claim()
    assert claimed["task"]["task_id"] == task_id
    # an answer that the channel does not take says nothing about the target
    await ledger.report(claimed, "refused", error="message is too long")
    await ledger.answered(7)
    assert len(await ledger.claim()) == 1


async def test_nothing_to_deliver(ledger: Ledger) -> None:
    stopped, partial, deleted = [await ledger.ask(chat) for chat in (1, 2, 3)]
    assert (await ledger.client.delete(f"/api/chat/{stopped}")).json()["status"] == "cancelled"
    await ledger.finish(partial, "Once upon", state="cancelled")
    await ledger.finish(deleted)
    conversation = (await ledger.client.get(f"/api/status/{deleted}")).json()["conversation_id"]
    response = await ledger.client.delete(f"/api/conversations/{conversation}", params={"user_id": "tg:3"})
    assert response.status_code == 204
    assert [item["task"]["text"] for item in await ledger.claim()] == ["Once upon"]
    assert await ledger.states() == ["skipped", "sending", "skipped"]


async def test_repeated_request_is_delivered_once(ledger: Ledger) -> None:
    tasks = await asyncio.gather(*(ledger.ask(7, key="tg:1:1") for _ in range(10)))
    assert len(set(tasks)) == 1
    assert await ledger.states() == ["waiting"]


async def test_waiting_claim_hears_of_the_end(ledger: Ledger, valkey: Server) -> None:
    task_id = await ledger.ask(7)
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(ledger.claim(wait=20))
    await asyncio.sleep(0.2)
    await ledger.finish(task_id)
    before = loop.time()
    async with Redis.from_url(valkey.url) as redis:
        await redis.publish(EVENTS_CHANNEL, task_id)
    assert len(await waiting) == 1
    assert loop.time() - before < 0.5
    before = loop.time()
    assert await ledger.claim(wait=0.3) == []
    assert 0.25 < loop.time() - before < 1


async def test_forgetting_leaves_nothing(ledger: Ledger) -> None:
    await ledger.answered(7)
    await ledger.answered(7, thread=2)
    (claimed,) = await ledger.claim()
    await ledger.report(claimed, "dead", error="blocked")
    assert (await ledger.client.delete("/api/users/tg:7")).status_code == 200
    assert await ledger.sql("SELECT (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM dead_targets)") == 0
    status, body = await ledger.try_report(claimed, "delivered")
    assert (status, body["error"]["code"]) == (404, "delivery_not_found")


async def test_listing_page_by_page(ledger: Ledger) -> None:
    tasks = [await ledger.ask(chat) for chat in (1, 2, 3)]
    page = await ledger.listed(limit=2)
    assert [item["task_id"] for item in page["deliveries"]] == tasks[:2]
    page = await ledger.listed(limit=2, after=page["next"], state="waiting")
    assert ([item["task_id"] for item in page["deliveries"]], page["next"]) == (tasks[2:], None)
    assert [item["task_id"] for item in (await ledger.listed(target="2"))["deliveries"]] == [tasks[1]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"channel": "pigeon", "target": {"chat_id": 1}},
        {"channel": "telegram"},
        {"channel": "telegram", "target": {"chat_id": "1"}},
        {"channel": "telegram", "target": {"chat_id": 1, "x": 1}},
        {"channel": "telegram", "target": {"chat_id": 2**63}},
    ],
)
async def test_wrong_orders(ledger: Ledger, wrong: dict[str, Any]) -> None:
    response = await ledger.client.post("/api/chat", json={"message": "x", "delivery": wrong})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


async def test_wrong_claims_and_reports(ledger: Ledger) -> None:
    good = {"channel": "telegram", "worker": "w"}
    for wrong in ({"channel": "x"}, {"worker": ""}, {"limit": 0}, {"wait": 31}, {"x": 1}, {"lease_seconds": 0}):
        assert (await ledger.client.post("/api/deliveries/claim", json=good | wrong)).status_code == 422
    for query in ({"channel": "x"}, {"channel": "telegram", "state": "x"}, {"channel": "telegram", "after": "x"}):
        assert (await ledger.client.get("/api/deliveries", params=query)).status_code == 422
    await ledger.answered(7)
    (claimed,) = await ledger.claim()
    for event, more in (("x", {}), ("in_flight", {"part": 0}), ("delivered", {"x": 1}), ("retry_after", {"seconds": -1})):
        assert (await ledger.try_report(claimed, event, **more))[0] == 422
    assert (await ledger.try_report(claimed, "part_done", part=0, message_id=1))[0] == 422  # not begun
    assert (await ledger.try_report(claimed | {"attempt": 0}, "delivered"))[0] == 409


async def test_for_services_only(postgres_url: str, valkey: Server) -> None:
    keys = {"api_keys": "alice:wonderland", "service_keys": "bot:botkey"}
    order = {"message": "x", "delivery": {"channel": "telegram", "target": {"chat_id": 1}}}
    claim = {"channel": "telegram", "worker": "w"}
    report = {"attempt": 1, "event": "delivered"}
    async with started_gateway(await migrated_database(postgres_url), valkey.url, **keys) as gateway:
        gateway.client.headers["authorization"] = "Bearer wonderland"
        for response in (
            await gateway.client.get("/api/deliveries", params={"channel": "telegram"}),
            await gateway.client.post("/api/deliveries/claim", json=claim),
            await gateway.client.post(f"/api/deliveries/{uuid.uuid4()}/report", json=report),
            await gateway.client.post("/api/chat", json=order),
        ):
            assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
        gateway.client.headers["authorization"] = "Bearer botkey"
        assert (await gateway.client.post("/api/deliveries/claim", json=claim)).json() == {"deliveries": []}
