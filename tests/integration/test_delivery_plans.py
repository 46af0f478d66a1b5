"""What the ledger keeps for a channel besides answers: plans, previews, broadcasts, moved groups; and its numbers."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from servers import Server

from delivery_ledger import Ledger
from gateway_app import migrated_database, started_gateway

PLAN: list[dict[str, Any]] = [
    {"kind": "text", "text": "Вот код 😀", "entities": [{"type": "bold", "offset": 0, "length": 3}]},
    {"kind": "document", "filename": "code.py", "text": "print(1)\n", "caption": "code.py"},
]


@pytest.fixture
async def ledger(postgres_url: str, valkey: Server) -> AsyncIterator[Ledger]:
    valkey.flush()
    database_url = await migrated_database(postgres_url)
    options: dict[str, Any] = {"assistant": "assistant", "sweep_seconds": 60, "max_body_bytes": 4_000_000}
    async with started_gateway(database_url, valkey.url, **options) as gateway:
        while not (await gateway.client.get("/api/assistants")).json().get("assistants"):
            await asyncio.sleep(0.02)
        yield Ledger(gateway)


async def broadcast(ledger: Ledger, text: str, key: str = "k") -> dict[str, Any]:
    body = {"channel": "telegram", "text": text, "key": key}
    response = await ledger.client.post("/api/deliveries/broadcast", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_a_plan_outlives_its_planner(ledger: Ledger) -> None:
    await ledger.answered(7)
    (first,) = await ledger.claim()
    assert (first["plan"], first["preview_message_id"], first["text"]) == (None, None, None)
    for _ in range(2):  # a report whose answer was lost
        assert await ledger.report(first, "planned", plan=PLAN) == {"state": "sending", "parts_done": 0}
    await ledger.report(first, "in_flight", part=0, parts_total=2)
    await ledger.report(first, "part_done", part=0, message_id=11)
    await ledger.expire()
    (second,) = await ledger.claim()
    assert (second["plan"], second["parts"], second["parts_total"]) == (PLAN, [11], 2)
    # what is planned stays, and nobody plans for a delivery that he does not hold
    assert (await ledger.try_report(second, "planned", plan=PLAN[:1]))[0] == 422
    assert (await ledger.try_report(first, "planned", plan=PLAN))[0] == 409
    await ledger.report(second, "in_flight", part=1, parts_total=2)
    assert (await ledger.report(second, "part_done", part=1, message_id=12))["state"] == "delivered"
    assert await ledger.sql("SELECT count(*) FROM deliveries WHERE plan IS NOT NULL") == 0


async def test_wrong_plans(ledger: Ledger) -> None:
    await ledger.answered(7)
    (claimed,) = await ledger.claim()
    wrong: list[Any] = [
        None,
        [],
        [{"kind": "text"}],
        [{"kind": "text", "text": ""}],
        [{"kind": "photo", "text": "x"}],
        [PLAN[0] | {"x": 1}],
    ]
    wrong.append([{"kind": "document", "filename": "", "text": "x"}])
    for plan in wrong:
        assert (await ledger.try_report(claimed, "planned", plan=plan))[0] == 422, plan
    huge = [{"kind": "document", "filename": "a.txt", "text": "ё" * 1_000_000}]
    status, body = await ledger.try_report(claimed, "planned", plan=huge)
    assert (status, body["error"]["code"]) == (413, "body_too_large")
    # the delivery is as good as before
    await ledger.report(claimed, "planned", plan=PLAN)
    assert (await ledger.report(claimed, "delivered"))["state"] == "delivered"


async def test_a_plan_covers_more_than_what_is_delivered(ledger: Ledger) -> None:
    """An earlier release of the bot had begun without a plan."""
    await ledger.answered(7)
    (claimed,) = await ledger.claim()
    await ledger.report(claimed, "in_flight", part=0, parts_total=3)
    await ledger.report(claimed, "part_done", part=0, message_id=1)
    assert (await ledger.try_report(claimed, "planned", plan=PLAN[:1]))[0] == 422
    await ledger.report(claimed, "planned", plan=PLAN)
    await ledger.report(claimed, "in_flight", part=1, parts_total=2)
    assert (await ledger.report(claimed, "part_done", part=1, message_id=2))["state"] == "delivered"


async def test_previews_are_known_after_a_restart(ledger: Ledger) -> None:
    task_id = await ledger.ask(-5)
    note = {"task_id": task_id, "channel": "telegram", "message_id": 77}
    told = await ledger.client.put("/api/deliveries/preview", json=note)
    assert told.json() == {"state": "waiting", "preview_message_id": 77}
    (listed,) = (await ledger.listed(state="waiting"))["deliveries"]
    assert (listed["task_id"], listed["preview_message_id"]) == (task_id, 77)
    await ledger.finish(task_id)
    (claimed,) = await ledger.claim()
    assert claimed["preview_message_id"] == 77
    gone = await ledger.client.put("/api/deliveries/preview", json=note | {"message_id": None})
    assert gone.json() == {"state": "sending", "preview_message_id": None}
    unknown = await ledger.client.put("/api/deliveries/preview", json=note | {"task_id": claimed["id"]})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "delivery_not_found")


async def test_broadcast_reaches_private_chats_once(ledger: Ledger) -> None:
    for chat in (7, 8, 9, -100):
        (claimed,) = (await ledger.answered(chat), await ledger.claim())[1]
        await ledger.report(claimed, "dead" if chat == 9 else "delivered", **({"error": "blocked"} if chat == 9 else {}))
    await ledger.client.patch("/api/users/tg:7", json={"settings": {"language": "ru"}})
    await ledger.client.patch("/api/users/tg:11", json={"settings": {"language": "ru"}})  # has never had a chat
    await ledger.client.post("/api/chat", json={"message": "x", "user_id": "tg:10"})  # a chat, nothing delivered
    await ledger.client.post("/api/chat", json={"message": "x", "user_id": "tg:12x"})
    made = await asyncio.gather(*(broadcast(ledger, "Update!") for _ in range(5)))
    assert sorted((item["targets"], item["is_repeat"]) for item in made) == [(3, False)] + [(3, True)] * 4
    other = await ledger.client.post("/api/deliveries/broadcast", json={"channel": "telegram", "text": "y", "key": "k"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    claimed = await ledger.claim()
    assert [(item["target"], item["user_id"], item["task"], item["text"]) for item in claimed] == [
        ({"chat_id": 7, "language": "ru"}, "tg:7", None, "Update!"),
        ({"chat_id": 8}, "tg:8", None, "Update!"),
        ({"chat_id": 10}, "tg:10", None, "Update!"),
    ]
    assert [item["task_id"] for item in (await ledger.listed(state="sending"))["deliveries"]] == [None] * 3
    await ledger.report(claimed[0], "planned", plan=[{"kind": "text", "text": "Update!", "entities": []}])
    await ledger.report(claimed[0], "in_flight", part=0, parts_total=1)
    await ledger.expire()
    again = {item["target"]["chat_id"]: item for item in await ledger.claim()}
    assert (again[7]["uncertain"], again[8]["uncertain"], len(again[7]["plan"])) == (True, False, 1)


async def test_answers_come_before_broadcasts(ledger: Ledger) -> None:
    for chat in (7, 8):
        await ledger.answered(chat)
    for claimed in await ledger.claim():
        await ledger.report(claimed, "delivered")
    await broadcast(ledger, "first")
    await broadcast(ledger, "second", key="k2")
    answer = await ledger.answered(8)
    waiting = await ledger.ask(7)  # an answer that is being written holds nothing back
    (claimed,) = await ledger.claim(limit=1)
    assert claimed["task"]["task_id"] == answer
    (seven,) = await ledger.claim()
    assert (seven["target"]["chat_id"], seven["text"]) == (7, "first")
    await ledger.report(claimed, "delivered")
    await ledger.finish(waiting)
    (eight,) = await ledger.claim()
    assert (eight["target"]["chat_id"], eight["text"]) == (8, "first")
    await ledger.report(seven, "delivered")
    (claimed,) = await ledger.claim()
    assert claimed["task"]["task_id"] == waiting
    await ledger.report(eight, "dead", error="blocked")
    assert await ledger.claim() == []
    assert sorted(await ledger.states()) == [
        "dead",
        "dead",
        "delivered",
        "delivered",
        "delivered",
        "delivered",
        "pending",
        "sending",
    ]


async def test_a_group_that_becomes_a_supergroup(ledger: Ledger) -> None:
    old, new = -5, -1001234567890
    group = f"tg-chat:{old}"
    target = {"chat_id": old, "reply_to": 3, "language": "ru", "is_group": True}
    order = {"message": "x", "user_id": group, "author": "tg:7", "delivery": {"channel": "telegram", "target": target}}
    tasks = [(await ledger.client.post("/api/chat", json=order)).json() for _ in range(2)]
    await ledger.answered(-55)
    talk = tasks[0]["conversation_id"]
    settings = {f"conversation:{old}": talk, f"conversation:{old}:4": "b", "conversation:-55": "c", "persona": "pirate"}
    await ledger.client.patch(f"/api/users/{group}", json={"settings": settings})
    preview = {"task_id": tasks[1]["task_id"], "channel": "telegram", "message_id": 77}
    await ledger.client.put("/api/deliveries/preview", json=preview)
    await ledger.finish(tasks[0]["task_id"])
    (claimed,) = [item for item in await ledger.claim() if item["target"]["chat_id"] == old]
    assert (await ledger.report(claimed, "moved", chat_id=new))["state"] == "pending"
    moved = {"chat_id": new, "language": "ru", "is_group": True}
    (again,) = await ledger.claim()
    assert (again["id"], again["target"], again["user_id"], again["uncertain"]) == (claimed["id"], moved, f"tg-chat:{new}", False)
    (waiting,) = (await ledger.listed(state="waiting"))["deliveries"]
    assert (waiting["target"], waiting["preview_message_id"]) == (moved, None)
    user = (await ledger.client.get(f"/api/users/tg-chat:{new}")).json()
    expected = {f"conversation:{new}": talk, f"conversation:{new}:4": "b", "conversation:-55": "c", "persona": "pirate"}
    assert user["settings"] == expected
    assert (await ledger.client.get(f"/api/users/{group}")).status_code == 404
    # a later message in the new group keeps its order in the same lane
    late = order | {"user_id": f"tg-chat:{new}", "conversation_id": talk, "delivery": {"channel": "telegram", "target": moved}}
    assert (await ledger.client.post("/api/chat", json=late)).status_code == 202
    lanes = await ledger.sql(f"SELECT count(DISTINCT lane) FROM deliveries WHERE target_key = '{new}'")
    assert lanes == 1


async def test_a_group_moves_while_people_write_in_the_new_one(ledger: Ledger) -> None:
    for number in range(1, 9):
        old, new = -number, -1000 - number
        await ledger.client.patch(f"/api/users/tg-chat:{old}", json={"settings": {"persona": "old", f"conversation:{old}": "a"}})
        body = {"channel": "telegram", "from_chat_id": old, "to_chat_id": new}
        answers = await asyncio.gather(
            *(ledger.client.patch(f"/api/users/tg-chat:{new}", json={"settings": {f"new{index}": index}}) for index in range(4)),
            *(ledger.client.post("/api/deliveries/move", json=body) for _ in range(2)),
        )
        assert [answer.status_code for answer in answers] == [200] * 6
        expected = {"persona": "old", f"conversation:{new}": "a", **{f"new{index}": index for index in range(4)}}
        assert (await ledger.client.get(f"/api/users/tg-chat:{new}")).json()["settings"] == expected


async def test_moving_to_a_group_that_is_known_already(ledger: Ledger) -> None:
    """An update from the new group was answered before the old one's delivery was refused."""
    await ledger.client.patch("/api/users/tg-chat:-5", json={"settings": {"persona": "old", "language": "ru"}})
    await ledger.client.patch("/api/users/tg-chat:-6", json={"settings": {"persona": "new"}})
    asked = (await ledger.client.post("/api/chat", json={"message": "x", "user_id": "tg-chat:-5"})).json()
    body = {"channel": "telegram", "from_chat_id": -5, "to_chat_id": -6}
    for _ in range(2):
        assert (await ledger.client.post("/api/deliveries/move", json=body)).json() == {"deliveries": 0}
    user = (await ledger.client.get("/api/users/tg-chat:-6")).json()
    assert user["settings"] == {"persona": "new", "language": "ru"}
    talk = await ledger.client.get(f"/api/conversations/{asked['conversation_id']}", params={"user_id": "tg-chat:-6"})
    assert talk.status_code == 200
    assert (await ledger.client.get("/api/users/tg-chat:-5")).status_code == 404


async def test_numbers_of_deliveries(ledger: Ledger) -> None:
    async def page() -> str:
        return (await ledger.gateway.internal.get("/metrics")).text

    assert 'ai_assistant_deliveries{channel="telegram",state="pending"} 0.0' in await page()
    for chat in (1, 2, 3):
        await ledger.answered(chat)
    await ledger.ask(4)
    await ledger.sql("UPDATE tasks SET finished_at = clock_timestamp() - interval '1 hour' WHERE state = 'succeeded'")
    first, second = await ledger.claim(limit=2)
    text = await page()
    for state, number in (("waiting", 1), ("pending", 1), ("sending", 2)):
        assert f'ai_assistant_deliveries{{channel="telegram",state="{state}"}} {number}.0' in text
    (oldest,) = [line for line in text.splitlines() if line.startswith("ai_assistant_delivery_oldest_seconds{")]
    assert 3600 <= float(oldest.split()[-1]) < 3700
    await ledger.report(first, "delivered")
    await ledger.report(second, "in_flight", part=0, parts_total=1)
    await ledger.expire()
    third, again = await ledger.claim()
    await ledger.report(again if again["uncertain"] else third, "dead", error="blocked")
    text = await page()
    for outcome in ("delivered", "dead", "uncertain"):
        assert f'ai_assistant_delivery_outcomes_total{{channel="telegram",outcome="{outcome}"}} 1.0' in text


async def test_a_broadcast_to_ten_thousand_is_claimed_quickly(ledger: Ledger) -> None:
    await ledger.sql(
        "INSERT INTO users (id, external_id) SELECT gen_random_uuid(), 'tg:' || n FROM generate_series(1, 10000) AS n"
    )
    await ledger.sql("INSERT INTO conversations (id, user_id, assistant) SELECT gen_random_uuid(), id, 'assistant' FROM users")
    begun = time.monotonic()
    assert (await broadcast(ledger, "Update!"))["targets"] == 10_000
    seen = {item["target"]["chat_id"] for _ in range(4) for item in await ledger.claim(limit=25)}
    assert seen == set(range(1, 101))
    assert time.monotonic() - begun < 10
