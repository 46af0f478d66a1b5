"""/forget_me and /export: nothing that is stored of a person stays, and nothing of it is missing from the file."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from servers import Server
from sqlalchemy import event, text

from ai_assistant.contracts import StreamEntry
from ai_assistant.streams import Entry, StreamWriter
from delivery_ledger import Ledger
from gateway_app import migrated_database, started_gateway

ID = 4242424242
PERSON = f"tg:{ID}"
GROUP = "tg-chat:-9"
SECRET = "моя тайна"


@pytest.fixture
async def ledger(postgres_url: str, valkey: Server) -> AsyncIterator[Ledger]:
    valkey.flush()
    options: dict[str, Any] = {"assistant": "assistant", "sweep_seconds": 60}
    async with started_gateway(await migrated_database(postgres_url), valkey.url, **options) as gateway:
        while not (await gateway.client.get("/api/assistants")).json().get("assistants"):
            await asyncio.sleep(0.02)
        yield Ledger(gateway)


async def ask(ledger: Ledger, message: str, *, user: str = GROUP, author: str | None = None, **more: Any) -> dict[str, Any]:
    chat_id = int(user.partition(":")[2])
    delivery = {"channel": "telegram", "target": {"chat_id": chat_id}}
    body = {"message": message, "user_id": user, "author": author, "delivery": delivery} | more
    headers = {"Idempotency-Key": f"{author or user}:{uuid.uuid4()}"}
    response = await ledger.client.post("/api/chat", json=body, headers=headers)
    assert response.status_code == 202, response.text
    return dict(response.json())


async def answer(ledger: Ledger, asked: dict[str, Any], said: str) -> None:
    await ledger.finish(asked["task_id"], said)
    await ledger.sql(f"UPDATE messages SET text = '{said}' WHERE id = '{asked['answer_message_id']}'")
    entry = Entry(1, StreamEntry.TOKEN, 0, said, (1,))
    await StreamWriter(ledger.gateway.state.redis).append([(uuid.UUID(asked["task_id"]), entry)])


async def rows_with(ledger: Ledger, needle: str) -> list[str]:
    """Tables and columns in which it occurs."""
    found = []
    async with ledger.gateway.state.database.session() as session:
        columns = await session.execute(
            text("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'")
        )
        for table, column in columns.all():
            query = text(f'SELECT count(*) FROM "{table}" WHERE position(:needle IN CAST("{column}" AS text)) > 0')
            if await session.scalar(query, {"needle": needle}):
                found.append(f"{table}.{column}")
    return found


async def redis_dump(url: str) -> str:
    """All keys with all that is in them."""
    parts = []
    async with Redis.from_url(url, decode_responses=True) as redis:
        async for key in redis.scan_iter():
            readers = {
                "stream": redis.xrange,
                "list": lambda key: redis.lrange(key, 0, -1),
                "string": redis.get,
                "set": redis.smembers,
            }
            readers |= {"hash": redis.hgetall, "zset": lambda key: redis.zrange(key, 0, -1)}
            parts.append(f"{key} {await readers[await redis.type(key)](key)}")
    return "\n".join(parts)


async def lines(ledger: Ledger, asked: dict[str, Any], user: str) -> list[tuple[str, str | None]]:
    """Texts of a conversation's messages, each with the text of its parent."""
    address = f"/api/conversations/{asked['conversation_id']}"
    found = (await ledger.client.get(address, params={"user_id": user})).json()["messages"]
    texts = {item["id"]: item["text"] for item in found} | {None: None}
    return [(item["text"], texts[item["parent_id"]]) for item in found]


async def life_of_a_person(ledger: Ledger) -> dict[str, Any]:
    """A private chat, turns in a group among those of others, and all that the platform notes besides. Returns the group's."""
    mine = await ask(ledger, SECRET, user=PERSON)
    await answer(ledger, mine, f"{SECRET}!")
    await ledger.client.patch(f"/api/users/{PERSON}", json={"settings": {f"conversation:{ID}": mine["conversation_id"]}})
    await ledger.client.post("/v1/chat/completions", json={"model": "assistant", "messages": [], "user": PERSON})
    first = await ask(ledger, f"{SECRET} 1", author=PERSON)
    talk = first["conversation_id"]
    await answer(ledger, first, f"{SECRET} 1!")
    second = await ask(ledger, f"{SECRET} 2", author=PERSON, conversation_id=talk)
    await answer(ledger, second, f"{SECRET} 2!")
    other = await ask(ledger, "other", author="tg:5", conversation_id=talk)
    await answer(ledger, other, "other!")
    third = await ask(ledger, f"{SECRET} 3", author=PERSON, conversation_id=talk)  # is being answered
    await ledger.sql(f"UPDATE tasks SET state = 'running', attempt = 1 WHERE id = '{third['task_id']}'")
    later = await ask(ledger, "later", author="tg:5", conversation_id=talk)
    await ask(ledger, f"{SECRET} 4", author=PERSON, conversation_id=talk)
    await ledger.client.post("/api/deliveries/broadcast", json={"channel": "telegram", "text": "Update!", "key": "k"})
    return later


async def test_nothing_stays(ledger: Ledger, valkey: Server) -> None:
    later = await life_of_a_person(ledger)
    (claimed, *_) = [item for item in await ledger.claim() if item["user_id"] == PERSON]
    await ledger.report(claimed, "planned", plan=[{"kind": "text", "text": SECRET}])
    await ledger.report(claimed, "dead", error="blocked")
    async with ledger.gateway.state.database.session() as session:
        key = str(await session.scalar(text("SELECT id FROM users WHERE external_id = :name"), {"name": PERSON}))
    assert {"users.external_id", "tasks.idempotency_key", "dead_targets.target_key"} <= set(await rows_with(ledger, str(ID)))
    assert {"messages.text", "conversations.title", "tasks.checkpoint_text"} <= set(await rows_with(ledger, SECRET))
    assert {"messages.author_id", "tasks.author_id", "deliveries.user_id"} <= set(await rows_with(ledger, key))
    assert SECRET in await redis_dump(valkey.url)
    assert await lines(ledger, later, GROUP) == [
        (f"{SECRET} 1", None),
        (f"{SECRET} 1!", f"{SECRET} 1"),
        (f"{SECRET} 2", f"{SECRET} 1!"),
        (f"{SECRET} 2!", f"{SECRET} 2"),
        ("other", f"{SECRET} 2!"),
        ("other!", "other"),
        (f"{SECRET} 3", "other!"),
        ("", f"{SECRET} 3"),
        ("later", ""),
        ("", "later"),
        (f"{SECRET} 4", ""),
        ("", f"{SECRET} 4"),
    ]
    forgotten = await ledger.client.delete(f"/api/users/{PERSON}")
    assert forgotten.json() == {"deleted_messages": 10}
    for needle in (str(ID), key, SECRET):
        assert await rows_with(ledger, needle) == []
        assert needle not in await redis_dump(valkey.url)
    assert await lines(ledger, later, GROUP) == [("other", None), ("other!", "other"), ("later", "other!"), ("", "later")]
    # the others' turns go on: nothing that was erased stands before them any more
    eligible = "SELECT count(*) FROM tasks WHERE state IN ('queued', 'running')"
    assert await ledger.sql(eligible) == 1
    assert (await ledger.client.delete(f"/api/users/{PERSON}")).json() == {"deleted_messages": 0}


async def test_forgetting_while_the_person_writes(ledger: Ledger) -> None:
    first = await ask(ledger, "hello", author="tg:5")
    for _ in range(3):
        more = [ask(ledger, SECRET, author=PERSON, conversation_id=first["conversation_id"]) for _ in range(6)]
        more += [ask(ledger, "of another", author="tg:5", conversation_id=first["conversation_id"]) for _ in range(3)]
        responses = await asyncio.gather(*more, *(ledger.client.delete(f"/api/users/{PERSON}") for _ in range(3)))
        assert all(item.status_code == 200 for item in responses[-3:])
    await ledger.client.delete(f"/api/users/{PERSON}")
    assert await rows_with(ledger, SECRET) == []
    texts = [said for said, _ in await lines(ledger, first, GROUP)]
    assert texts.count("of another") == 9
    # every turn but the first stands on one that is there
    assert await ledger.sql("SELECT count(*) FROM messages WHERE parent_id IS NULL") == 1


async def test_an_export_has_everything(ledger: Ledger) -> None:
    await life_of_a_person(ledger)
    for title in "ab":
        await ledger.sql(
            f"INSERT INTO conversations (id, user_id, assistant, title)"
            f" SELECT gen_random_uuid(), id, 'a', '{title}' FROM users WHERE external_id = '{PERSON}'"
        )
    export = (await ledger.client.get(f"/api/users/{PERSON}/export")).json()
    assert [[item["text"] for item in talk["messages"]] for talk in export["conversations"]] == [[SECRET, f"{SECRET}!"], [], []]
    assert [item["text"] for item in export["messages_in_groups"]] == [
        f"{SECRET} 1",
        f"{SECRET} 1!",
        f"{SECRET} 2",
        f"{SECRET} 2!",
        f"{SECRET} 3",
        "",
        f"{SECRET} 4",
        "",
    ]
    assert [(item["channel"], item["target"]["chat_id"]) for item in export["deliveries"]] == [("telegram", ID)] * 2
    other = (await ledger.client.get("/api/users/tg:5/export")).json()
    assert SECRET not in json.dumps(other, ensure_ascii=False)


@pytest.mark.parametrize(("talks", "turns"), [(1, 10_000), (2_500, 4)])
async def test_ten_thousand_messages_in_few_queries(ledger: Ledger, talks: int, turns: int) -> None:
    await ledger.client.patch(f"/api/users/{PERSON}", json={"settings": {}})
    await ledger.sql(
        "INSERT INTO conversations (id, user_id, assistant, title, created_at) SELECT gen_random_uuid(), id, 'a', number::text,"
        f" now() + make_interval(secs => number) FROM users, generate_series(1, {talks}) AS number WHERE external_id = '{PERSON}'"
    )
    await ledger.sql(
        "INSERT INTO messages (id, conversation_id, role, text) SELECT gen_random_uuid(), id, 'user', title || ':' || number"
        f" FROM conversations, generate_series(1, {turns}) AS number ORDER BY number, random()"
    )
    queries = 0

    def count(*_: Any) -> None:
        nonlocal queries
        queries += 1

    event.listen(ledger.gateway.state.database.engine.sync_engine, "before_cursor_execute", count)
    begun = time.monotonic()
    export = (await ledger.client.get(f"/api/users/{PERSON}/export")).json()
    assert time.monotonic() - begun < 10
    assert queries < 60
    assert [talk["title"] for talk in export["conversations"]] == [str(number + 1) for number in range(talks)]
    for talk in export["conversations"]:
        assert [item["text"] for item in talk["messages"]] == [f"{talk['title']}:{number + 1}" for number in range(turns)]
