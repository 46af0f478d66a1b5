"""Delivering over real HTTP to the strict fake of Telegram."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from ledger_double import LedgerDouble
from telegram import TOKEN, BotApi, Chances, Limits, faults, started_bot_api

from ai_assistant.bot.deliverer import Deliverer
from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.pacing import Pacer
from ai_assistant.bot.texts import say

MARK = say("resent", "en")


@pytest.fixture
def api() -> Iterator[BotApi]:
    with started_bot_api() as api:
        yield api


@pytest.fixture
async def bot(api: BotApi) -> AsyncIterator[Bot]:
    session = AiohttpSession(api=TelegramAPIServer.from_base(api.url), timeout=5)
    session.middleware(Pacer())
    yield Bot(TOKEN, session)
    if session._session is not None:  # aiogram's own close waits for TLS, of which there is none
        await session._session.close()


async def settle(bot: Bot, ledger: LedgerDouble, seconds: float = 20) -> None:
    ledger.first_pause = 0.05
    deliverer = Deliverer(bot, cast(GatewayClient, ledger))
    deliverer.start()
    try:
        await ledger.settled(seconds)
    finally:
        await deliverer.stop(3)


async def test_a_formatted_answer_in_a_private_chat(api: BotApi, bot: Bot) -> None:
    api.say("Hello", user=7)
    ledger = LedgerDouble()
    ledger.owe(7, "Some **bold** words, `code` and 😀 *emoji*.", uncertain=True)
    await settle(bot, ledger)
    [message] = api.answers(7)
    assert message.text == MARK + "Some bold words, code and 😀 emoji."
    encoded = message.text.encode("utf-16-le")
    named = {
        entity["type"]: encoded[2 * entity["offset"] : 2 * (entity["offset"] + entity["length"])].decode("utf-16-le")
        for entity in message.entities
    }
    assert named == {"bold": "bold", "code": "code", "italic": "emoji"}


async def test_a_preview_in_a_topic_becomes_the_answer(api: BotApi, bot: Bot) -> None:
    team = api.group(-100, forum=True)
    topic = team.topic()
    question = api.person(7).mentions_bot("How?", team, thread_id=topic)
    preview = await bot.send_message(-100, "So fa…", message_thread_id=topic)
    ledger = LedgerDouble()
    target = {"thread_id": topic, "reply_to": question, "is_group": True}
    entry = ledger.owe(-100, "So far so good.", target=target, preview_message_id=preview.message_id)
    again = ledger.owe(-100, "So far so good.", target=target, preview_message_id=preview.message_id, uncertain=True)
    gone = ledger.owe(-100, "And on.", target=target, preview_message_id=4711)
    await settle(bot, ledger)
    assert [message.text for message in api.answers(-100)] == ["So far so good.", "And on."]
    assert entry.parts == again.parts == [preview.message_id]
    assert api.answers(-100)[1].thread_id == topic
    assert api.answers(-100)[1].reply_to == question
    assert gone.state == "delivered"


async def test_a_deleted_topic(api: BotApi, bot: Bot) -> None:
    team = api.group(-100, forum=True)
    topic = team.topic()
    question = api.person(7).mentions_bot("How?", team, thread_id=topic)
    team.deletes_topic(topic)
    ledger = LedgerDouble()
    ledger.owe(-100, "Like this.", target={"thread_id": topic, "reply_to": question})
    await settle(bot, ledger)
    [message] = api.answers(-100)
    assert (message.text, message.thread_id) == ("Like this.", None)


async def test_a_file_that_may_have_arrived(api: BotApi, bot: Bot) -> None:
    api.say("Hello", user=7)
    api.faults.next(faults.server_error(done=True), "sendDocument")
    ledger = LedgerDouble()
    plan = [{"kind": "document", "filename": "main.py", "text": "print('привет')", "caption": "python"}]
    ledger.owe(7, plan=plan, parts_total=1)
    await settle(bot, ledger)
    first, second = api.answers(7)
    assert first.document == second.document == ("main.py", "print('привет')".encode())
    assert (first.text, second.text) == ("python", MARK + "python")


async def test_an_answer_whose_arrival_was_not_confirmed(api: BotApi, bot: Bot) -> None:
    api.say("Hello", user=7)
    for fault in (faults.closed(done=True), faults.garbage(done=True)):
        api.faults.next(fault, "sendMessage")
    ledger = LedgerDouble()
    ledger.owe(7, "Hi.")
    await settle(bot, ledger)
    assert api.texts(7) == ["Hi.", MARK + "Hi.", MARK + "Hi."]


async def test_a_telegram_that_is_away_for_a_moment(api: BotApi, bot: Bot) -> None:
    api.say("Hello", user=7)
    api.stop()
    ledger = LedgerDouble()
    entry = ledger.owe(7, "Hi.")
    deliverer = Deliverer(bot, cast(GatewayClient, ledger))
    deliverer.start()
    while not entry.failures:
        await asyncio.sleep(0.01)
    api.start()
    await ledger.settled(10)
    await deliverer.stop(3)
    assert api.texts(7) == ["Hi."]  # it was never connected: nothing to mark


async def test_blocked_and_upgraded(api: BotApi, bot: Bot) -> None:
    anna = api.person(7)
    anna.says("Hello")
    anna.blocks()
    team = api.group(-55, [api.person(8)], kind="group")
    team.upgrades(-1001)
    ledger = LedgerDouble()
    blocked, moved = ledger.owe(7), ledger.owe(-55, "Hi all.")
    await settle(bot, ledger)
    assert (blocked.state, moved.state) == ("dead", "delivered")
    assert "blocked" in blocked.error
    assert api.texts(-1001) == ["Hi all."]


async def test_many_answers_with_faults_and_telegrams_own_limits(api: BotApi, bot: Bot) -> None:
    people = range(1, 41)
    for number in people:
        api.say("Hello", user=number)
    api.flood.limits = Limits()
    api.faults.chances = Chances(seed=3, flood=0.1, retry_after=(1,), server_error=0.05, done=0.5)
    ledger = LedgerDouble()
    for number in range(2):
        for person in people:
            ledger.owe(person, f"Answer {number}.")
    await settle(bot, ledger, 60)
    assert api.flood.violations == []
    for person in people:
        texts = api.texts(person)
        plain = [text for text in texts if not text.startswith(MARK)]
        assert len(plain) == len(set(plain))
        assert list(dict.fromkeys(text.removeprefix(MARK) for text in texts)) == ["Answer 0.", "Answer 1."]
    outcomes: Any = api.record.outcomes("sendMessage")
    assert sum(outcomes.values()) > 80
