"""What is stored of a person: it comes as a file, survives restarts of everything, and is gone after /forget_me."""

import asyncio
import json
import time

from redis.asyncio import Redis
from servers import psql
from telegram import Chances

from integration.telegram_town import LONG, Town
from telegram_bot import wait_until

pytest_plugins = ["integration.telegram_fixtures"]

PERSON = 4242424242
SECRET = "zebulon"


def rows_with(town: Town, needle: str) -> list[str]:
    """Tables and columns in which it occurs."""
    columns = psql(
        town.platform.database_url,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'",
    )
    queries = []
    for line in columns.splitlines():
        table, column = line.split("|")
        condition = f"position('{needle}' IN CAST(\"{column}\" AS text)) > 0"
        queries.append(f"SELECT '{table}.{column}' WHERE EXISTS (SELECT 1 FROM \"{table}\" WHERE {condition})")
    return psql(town.platform.database_url, " UNION ALL ".join(queries)).splitlines()


async def keys_of(url: str) -> str:
    """All keys with all that is in them."""
    parts = []
    async with Redis.from_url(url, decode_responses=True) as redis:
        async for key in redis.scan_iter():
            readers = {
                "stream": redis.xrange,
                "list": lambda key: redis.lrange(key, 0, -1),
                "string": redis.get,
                "set": redis.smembers,
                "hash": redis.hgetall,
                "zset": lambda key: redis.zrange(key, 0, -1),
            }
            parts.append(f"{key} {await readers[await redis.type(key)](key)}")
    return "\n".join(parts)


def traces(town: Town) -> list[str]:
    found = []
    dump = asyncio.run(keys_of(town.platform.valkey.url))
    for needle in (str(PERSON), SECRET):
        found += [f"{needle}: {place}" for place in rows_with(town, needle)]
        found += [f"{needle}: valkey"] if needle in dump else []
    return found


def test_forget_me_leaves_nothing(town: Town) -> None:
    group = town.group(-41, 41, PERSON)
    person, other = town.api.person(PERSON), town.api.person(41)
    group_answers = 0
    person.says(f"My name is {SECRET}.")
    town.answers(PERSON, 1)
    person.says("/settings persona You like foxes.")
    town.answers(PERSON, 2)
    other.mentions_bot("Hello!", group)
    town.answers(-41, group_answers := 1)
    person.mentions_bot(f"I am {SECRET}.", group)
    town.answers(-41, group_answers := group_answers + 1)
    # pauses that Telegram wants are noted by chat
    town.api.flood_next(1, chat_id=PERSON)
    person.says(f"And {SECRET} again.")
    town.answers(PERSON, 3)
    assert len(traces(town)) > 5

    # while an answer is being written, in both places
    person.says(f"{LONG} Its name is {SECRET}.")
    town.platform.read(town.task_of(PERSON)).wait_for(20).close()
    person.says("/forget_me")
    town.api.wait_for(4, chat_id=PERSON)
    person.presses("Delete everything")
    wait_until(lambda: any("deleted" in text.lower() for text in town.api.texts(PERSON)[3:]), 30)
    wait_until(lambda: not traces(town), 10, lambda: str(traces(town)))
    time.sleep(3)
    assert traces(town) == []
    assert town.slots_in_use() == 0
    # what others wrote is there
    assert [item["text"] for item in town.conversation("tg-chat:-41") if item["role"] == "user"] == ["Hello!"]
    # and the person may begin anew
    person.says("Hello!")
    town.api.wait_for(5, chat_id=PERSON)


def test_an_export_is_a_file(town: Town) -> None:
    town.api.say(f"My name is {SECRET}.", user=42, language="ru")
    town.answers(42, 1)
    town.api.say("/export", user=42)
    wait_until(lambda: any(item.document for item in town.api.answers(42)), 30, "no file")
    name, content = next(item.document for item in town.api.answers(42) if item.document)
    assert name.endswith(".json")
    told = json.loads(content)
    (conversation,) = told["conversations"]
    assert [item["role"] for item in conversation["messages"]] == ["user", "assistant"]
    assert conversation["messages"][0]["text"] == f"My name is {SECRET}."
    town.api.say("/stats", user=42)
    wait_until(lambda: any("Сообщений" in text for text in town.api.texts(42)), 10)


def test_restarting_everything_keeps_the_history(town: Town) -> None:
    town.api.say("What is the capital of France?", user=43)
    town.answers(43, 1)
    assert town.bot.stop() == 0
    assert town.gateway.stop() == 0
    town.worker.stop()
    town.platform.valkey.stop()
    town.platform.postgres.restart()
    town.platform.valkey.start()
    town.api.say("And of Italy?", user=43)
    # in whatever order they come up
    town.bot.start(wait=False)
    town.worker.start(wait=False)
    town.gateway.start()
    assert "Rome" in town.answers(43, 2, 90)[1]
    asked = [item["text"] for item in town.conversation("tg:43") if item["role"] == "user"]
    assert asked == ["What is the capital of France?", "And of Italy?"]


def test_a_chat_in_bad_weather(town: Town) -> None:
    """Some of everything goes wrong with every call; people see whole answers in order."""
    town.api.faults.chances = Chances(seed=1, flood=0.1, retry_after=(1,), server_error=0.05, closed=0.05, garbage=0.05)
    try:
        for text in ("What is the capital of France?", "And of Italy?", "And of Spain?"):
            town.api.say(text, user=44)
        texts = town.answers(44, 3, 90)
    finally:
        town.api.faults.clear()
    for text, city in zip(texts, ("Paris", "Rome", "Madrid"), strict=True):
        assert city in text
    assert town.api.flood.violations == []
