"""Who gets in, in every mode, and that nothing of the others reaches the gateway."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator

import pytest
from bot_talk import Talk, talking
from telegram import BotApi, started_bot_api

from ai_assistant.bot import access_gate, access_list
from ai_assistant.bot.fingerprints import Fingerprints
from ai_assistant.bot.texts import say

ADMIN = 1


@pytest.fixture
def api() -> Iterator[BotApi]:
    with started_bot_api() as api:
        yield api


@pytest.fixture
async def talk(api: BotApi, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Talk]:
    """Pairing, with an admin."""
    async with talking(api, monkeypatch, telegram_admins=[ADMIN]) as talk:
        yield talk


def code_in(text: str) -> str:
    return re.search(r"/allow ([2-9A-Z]{8})", text)[1]  # type: ignore[index]


async def test_stranger_gets_a_code_once_an_hour_and_nothing_reaches_the_gateway(talk: Talk) -> None:
    (told,) = await talk.say("Hello")
    assert "Your Telegram ID is 7" in told
    assert code_in(told)
    assert await talk.say("Hello?") == []
    talk.now += 3601
    assert len(await talk.say("Hello!")) == 1
    assert talk.heard == []
    assert {path for _, path in talk.gateway.asked} == {"/api/users/tg-bot:4242"}


async def test_admin_lets_a_stranger_in_by_code(talk: Talk) -> None:
    (told,) = await talk.say("Здравствуйте", language="ru")
    code = code_in(told)
    assert await talk.say(f"/allow {code[:4].lower()}-{code[4:]}", user=ADMIN) == [
        say("allowed", "en", who=7),
        say("welcome", "ru"),
    ]
    assert await talk.say("Hello") == []
    assert [text for text, _ in talk.heard] == ["Hello"]
    # good once
    assert await talk.say(f"/allow {code}", user=ADMIN) == [say("no_such_code", "en")]


async def test_codes_are_good_for_an_hour(talk: Talk) -> None:
    (told,) = await talk.say("Hello")
    talk.now += 3601
    assert await talk.say(f"/allow {code_in(told)}", user=ADMIN) == [say("no_such_code", "en")]
    assert talk.heard == []


async def test_invitation_by_link(talk: Talk) -> None:
    (told,) = await talk.say("/allow new", user=ADMIN)
    code = re.search(r"https://t.me/test_bot\?start=(\w{8})", told)[1]  # type: ignore[index]
    assert await talk.say(f"/start {code}") == [say("welcome", "en")]
    assert await talk.say(f"/start {code}", user=8) == [say("wrong_code", "en")]
    await talk.say("Hello")
    await talk.say("Hello", user=8)
    assert [profile.person for _, profile in talk.heard] == ["tg:7"]


async def test_wrong_codes_end_in_silence(talk: Talk) -> None:
    (told,) = await talk.say("/allow new", user=ADMIN)
    code = re.search(r"start=(\w{8})", told)[1]  # type: ignore[index]
    for _ in range(5):
        assert await talk.say("/start AAAAAAAA") == [say("wrong_code", "en")]
    assert await talk.say("/start AAAAAAAA") == []
    assert await talk.say(f"/start {code}") == []  # not even looked at
    assert await talk.say("Hello") == []
    talk.now += 3601
    (told,) = await talk.say("/allow new", user=ADMIN)
    code = re.search(r"start=(\w{8})", told)[1]  # type: ignore[index]
    assert await talk.say(f"/start {code}") == [say("welcome", "en")]


async def test_the_log_makes_the_owner(api: BotApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with talking(api, monkeypatch) as talk:
        await talk.commands.start()
        (code,) = re.findall(r"https://t.me/test_bot\?start=(\w{8})", caplog.text)
        assert await talk.say("Hello") == [say("stranger_no_owner", "en", id=7)]
        assert await talk.say(f"/start {code}") == [say("owner_welcome", "en")]
        assert [item["command"] for item in api.profile.menu(7, "en")][-3:] == ["allow", "deny", "broadcast"]
        # nobody after that
        assert await talk.say(f"/start {code}", user=8) == [say("wrong_code", "en")]
        assert len(await talk.say("/allow new")) == 1
        gateway = dict(talk.gateway.users)
    async with talking(api, monkeypatch) as talk:  # after a restart
        talk.gateway.users = gateway
        caplog.clear()
        await talk.commands.start()
        assert "start=" not in caplog.text
        assert len(await talk.say("/allow new")) == 1


async def test_deny_is_immediate_and_outlives_being_forgotten(talk: Talk) -> None:
    await talk.say("/allow 7", user=ADMIN)
    await talk.say("Hello")
    talk.gateway.waiting["7"] = ["first", "second"]
    assert await talk.say("/deny 7", user=ADMIN) == [say("denied_done", "en", who=7, count=2)]
    assert talk.gateway.cancelled == ["second", "first"]
    assert await talk.say("Hello?") == [say("denied", "en")]
    assert await talk.say("Hello??") == []
    assert [text for text, _ in talk.heard] == ["Hello"]
    record = str(talk.gateway.users["tg-bot:4242"])
    assert Fingerprints("4242:test-token").of("person:7") in record
    assert not re.search(r"\b7\b", record)


async def test_deny_in_open_mode(api: BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    async with talking(api, monkeypatch, telegram_access="open", telegram_admins=[ADMIN]) as talk:
        await talk.say("Hello")
        await talk.say("/deny 7", user=ADMIN)
        assert await talk.say("Hello again") == [say("denied", "en")]
        await talk.say("Hello", user=8)
        assert [profile.person for _, profile in talk.heard] == ["tg:7", "tg:8"]
        assert await talk.say("/deny 1", user=ADMIN) == [say("is_admin", "en", who=1)]


async def test_allowlist_has_no_codes(api: BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    async with talking(api, monkeypatch, telegram_access="allowlist", telegram_allowed=["8", "@Anna"]) as talk:
        assert await talk.say("Hello") == [say("stranger", "en", id=7)]
        await talk.say("Hello", user=8)
        api.person(9).user["username"] = "anna"
        await talk.say("Hello", user=9)
        assert [profile.person for _, profile in talk.heard] == ["tg:8", "tg:9"]


async def test_only_admins_have_admins_commands(talk: Talk) -> None:
    await talk.say("/allow 7", user=ADMIN)
    for command in ("/allow 8", "/deny 1", "/broadcast Hi"):
        assert await talk.say(command) == [say("no_such_command", "en")]
    assert [name for name in talk.gateway.users if name.startswith("tg-bot")] == ["tg-bot:4242"]
    assert len(talk.gateway.users["tg-bot:4242"]) == 1


async def test_group_of_an_admin(talk: Talk) -> None:
    admin, anna = talk.api.person(ADMIN), talk.api.person(7)
    group = talk.api.group(-100, [admin, anna])
    assert await talk.handle() == []
    anna.mentions_bot("What is the time?", group)
    anna.says("not for the bot", group)
    await talk.handle()
    assert [(profile.person, profile.owner) for _, profile in talk.heard] == [("tg:7", "tg-chat:-100")]
    # one who is kept out is kept out there too, in silence
    await talk.say("/deny 7", user=ADMIN)
    anna.mentions_bot("What is the time?", group)
    assert await talk.handle() == []
    assert len(talk.heard) == 1


async def test_group_of_a_stranger_is_left(talk: Talk) -> None:
    await talk.say("/allow 7", user=ADMIN)
    group = talk.api.group(-100, [talk.api.person(7)])
    assert await talk.handle() == [say("group_stranger", "en", id=-100)]
    assert group.chat.bot_status == "left"
    assert not any("-100" in name for name in talk.gateway.users)


async def test_group_that_moves_stays_let_in(talk: Talk) -> None:
    anna = talk.api.person(7)
    await talk.say("/allow -5", user=ADMIN)
    group = talk.api.group(-5, [anna], kind="group")
    await talk.handle()
    new = group.upgrades(-1005)
    pending = talk.api.updates.pending
    # Telegram does not tell a bot anew that it is a member
    kept = [update for update in pending if "my_chat_member" not in update]
    pending.clear()
    pending.extend(kept)
    anna.mentions_bot("Still there?", new)
    await talk.handle()
    assert [(profile.owner, text) for text, profile in talk.heard if text] == [("tg-chat:-1005", "@test_bot Still there?")]


async def test_long_lists_go_on_in_another_record(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_list, "MAX_PER_RECORD", 5)
    listed = talk.commands.access.listed
    for number in range(10_000, 10_008):
        await talk.say(f"/allow {number}", user=ADMIN)
    assert sorted(talk.gateway.users)[-2:] == ["tg-bot:4242", "tg-bot:4242:1"]
    await talk.say("/deny 10000", user=ADMIN)
    talk.now += 31
    await listed.refresh()
    assert listed.get("person:10000") == "denied"
    assert listed.get("person:10007") == "allowed"
    assert sum(map(len, (talk.gateway.users["tg-bot:4242"], talk.gateway.users["tg-bot:4242:1"]))) == 8


async def test_gateway_away_at_start(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_gate, "WAIT_SECONDS", 0.01)
    talk.gateway.is_away = True
    assert await talk.say("/start") == [say("start", "en")]
    assert await talk.say("/settings") == [say("unavailable", "en")]
    assert await talk.say("/settings") == []
    assert await talk.say("/start", user=ADMIN) == [say("start", "en") + "\n\n" + say("start_admin", "en")]
    # what may be for the assistant waits
    talk.api.say("Hello", user=8)
    waiting = asyncio.create_task(talk.handle())
    while talk.api.texts()[-1] != say("message_waits", "en"):
        await asyncio.sleep(0.01)
    talk.gateway.is_away = False
    talk.now += 10
    told = await waiting
    assert told[0] == say("message_waits", "en")
    assert "/allow" in told[1]
    assert talk.heard == []


async def test_gateway_away_later_changes_nothing(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    await talk.say("/deny 8", user=ADMIN)
    await talk.say("/allow 7", user=ADMIN)
    await talk.say("Hello")
    talk.gateway.is_away = True
    talk.now += 60
    with caplog.at_level(logging.WARNING):
        assert await talk.say("/settings") == [say("unavailable", "en")]
    assert await talk.say("Hello", user=8) == [say("denied", "en")]
    assert await talk.say("/deny 7", user=ADMIN) == [say("unavailable", "en")]
    assert [text for text, _ in talk.heard] == ["Hello"]
