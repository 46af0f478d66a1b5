"""Commands, through the dispatcher: what they answer, what they leave at the gateway, and what is in the log afterwards."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from bot_talk import Talk, talking
from telegram import BotApi, started_bot_api

from ai_assistant.bot import preference_pages
from ai_assistant.bot.texts import say

ADMIN = 1


@pytest.fixture
def api() -> Iterator[BotApi]:
    with started_bot_api() as api:
        yield api


@pytest.fixture
async def talk(api: BotApi, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Talk]:
    async with talking(api, monkeypatch, telegram_access="open", telegram_admins=[ADMIN]) as talk:
        yield talk


async def test_start_help_and_unknown(talk: Talk) -> None:
    assert await talk.say("/start") == [say("start", "en")]
    assert await talk.say("/help", language="ru") == [say("help", "ru")]
    assert await talk.say("/frobnicate now") == [say("no_such_command", "ru")]
    await talk.say("/usr/bin is what?")
    assert [text for text, _ in talk.heard] == ["/usr/bin is what?"]
    group = talk.api.group(-100, [talk.api.person(7)])
    talk.api.person(7).says("/frobnicate", group)
    assert await talk.handle() == []
    assert len(talk.heard) == 1


async def test_telegram_is_asked_for_all_that_is_needed(talk: Talk) -> None:
    assert {"message", "callback_query", "my_chat_member"} <= set(talk.dispatcher.resolve_used_update_types())


async def test_menu_is_set_once(talk: Talk) -> None:
    for _ in range(2):
        await talk.commands.start()
    assert len(talk.api.record.of("setMyCommands")) == 6  # private chats, groups and an admin, in two languages
    russian = talk.api.profile.menu(7, "ru")
    assert ("new", "Новая беседа") in [(item["command"], item["description"]) for item in russian]
    assert "broadcast" in [item["command"] for item in talk.api.profile.menu(ADMIN, "de")]
    assert "broadcast" not in str(talk.api.profile.menu(7, "de"))


async def test_language_is_chosen(talk: Talk) -> None:
    (shown,) = await talk.say("/settings", language="en")
    assert "as in Telegram" in shown
    await talk.press("Language")
    assert await talk.press("Русский") == "Сохранено."
    assert talk.gateway.users["tg:7"] == {"language": "ru"}
    assert talk.api.texts()[-1].startswith("Язык: Русский")
    assert await talk.say("/start") == [say("start", "ru")]
    await talk.press("pref:language")
    await talk.press("pref:language:-")
    assert talk.gateway.users["tg:7"] == {}


async def test_assistant_is_chosen(talk: Talk) -> None:
    name = "a" * 63
    talk.gateway.assistants.append({"name": name, "state": "provisioning", "details": {}})
    await talk.say("/settings")
    await talk.press("Assistant")
    await talk.press(f"{name} · not ready yet")
    assert talk.gateway.users["tg:7"] == {"assistant": name}
    # gone meanwhile
    await talk.press("pref:assistant")
    talk.gateway.assistants.pop()
    assert await talk.press(f"✓ {name} · not ready yet") == say("stale_button", "en")


async def test_persona(talk: Talk) -> None:
    await talk.say("/settings")
    await talk.press("Persona")
    await talk.press("Short answers")
    assert talk.gateway.users["tg:7"] == {"persona": say("instructions_concise", "en")}
    assert "Persona: Short answers" in talk.api.texts()[-1]
    await talk.press("Persona")
    await talk.press("own words")
    asked = talk.api.answers(7)[-1]
    assert asked.text == say("persona_ask", "en")
    talk.api.person(7).says("Answer like a pirate.", reply_to=asked.message_id)
    assert await talk.handle() == [say("persona_set", "en")]
    assert talk.gateway.users["tg:7"] == {"persona": "Answer like a pirate."}
    assert talk.heard == []
    assert await talk.say("/settings persona " + "x" * 1001) == [say("persona_too_long", "en", limit=1000, count=1001)]
    talk.gateway.assistants[0]["details"] = {"persona": False}
    assert await talk.say("/settings persona Answer like a king.") == [say("persona_forbidden", "en")]
    assert talk.gateway.users["tg:7"] == {"persona": "Answer like a pirate."}


async def test_only_a_groups_admins_change_its_settings(talk: Talk) -> None:
    anna, boris = talk.api.person(7), talk.api.person(8, name="Boris")
    group = talk.api.group(-100, [anna, boris])
    boris.says("/settings", group)
    await talk.handle()
    query = boris.presses("pref:language", group)
    await talk.handle()
    assert talk.api.callbacks[query].answer == say("only_group_admins", "en")
    boris.says("/settings persona Answer like a pirate.", group)
    assert await talk.handle() == [say("only_group_admins", "en")]
    anna.presses("pref:language", group)
    await talk.handle()
    anna.presses("pref:language:ru", group)
    await talk.handle()
    assert talk.gateway.users["tg-chat:-100"] == {"language": "ru"}
    assert "tg:7" not in talk.gateway.users


def test_buttons_fit() -> None:
    found = [{"name": f"{number:063}", "state": "ready", "details": {}} for number in range(60)]
    for page in (
        preference_pages.home({}, "ru", has_choice=True),
        preference_pages.languages({}, "ru"),
        preference_pages.assistants({}, "ru", found),
        preference_pages.personas({}, "ru"),
    ):
        buttons = [button for row in page.keyboard.inline_keyboard for button in row]
        assert len(buttons) <= 100
        assert all(len((button.callback_data or "").encode()) <= 64 for button in buttons)


async def test_stale_buttons(talk: Talk) -> None:
    await talk.say("/settings")
    message = talk.api.answers(7)[-1]
    for data in ("pref:language:xx", "pref:nonsense:1", "something:else"):
        message.markup = {"inline_keyboard": [[{"text": "old", "callback_data": data}]]}
        assert await talk.press("old") == say("stale_button", "en")


async def test_privacy_and_stats(talk: Talk) -> None:
    assert (await talk.say("/privacy"))[0].startswith("What is stored")
    assert await talk.say("/stats") == [say("no_stats", "en")]
    talk.gateway.users["tg:7"] = {}
    assert "1234" in (await talk.say("/stats"))[0]
    assert "5000" in (await talk.say("/stats", user=ADMIN))[0]


async def test_export(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    talk.gateway.users["tg:7"] = {}
    talk.gateway.export = '{"text": "Привет"}'.encode()
    assert await talk.say("/export") == [say("export_started", "en")]
    await talk.commands.exports.wait()
    assert talk.api.answers(7)[-1].document == ("ai-assistant-export.json", talk.gateway.export)
    # too large for one file, also when zipped
    monkeypatch.setattr(talk.commands.exports, "_max_bytes", 100)
    await talk.say("/export")
    await talk.commands.exports.wait()
    talk.gateway.export = b"x" * 1000
    await talk.say("/export")
    await talk.commands.exports.wait()
    names = [message.document[0] for message in talk.api.answers(7) if message.document]
    assert names[:2] == ["ai-assistant-export.json"] * 2
    assert names[2:] == [f"ai-assistant-export.zip.{number:03}" for number in range(1, len(names) - 1)]
    assert len(names) > 3


async def test_export_of_nobody(talk: Talk) -> None:
    await talk.say("/export")
    await talk.commands.exports.wait()
    assert talk.api.texts()[-1] == say("nothing_stored", "en")


async def test_forget_me(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    talk.gateway.users["tg:7"] = {"language": "ru"}
    assert await talk.say("/forget_me") == [say("forget_question", "ru")]
    await talk.press("Не удалять")
    assert "tg:7" in talk.gateway.users
    await talk.say("/forget_me")
    await talk.press("Удалить всё")
    assert "tg:7" not in talk.gateway.users
    assert talk.api.texts()[-1] == say("forgotten", "ru")
    assert talk.commands.profiles.language("tg:7", "en") == "en"
    # the button is good for ten minutes
    talk.gateway.users["tg:7"] = {}
    await talk.say("/forget_me")
    monkeypatch.setattr("ai_assistant.bot.my_data.CONFIRM_SECONDS", -1)
    await talk.say("/forget_me")
    await talk.press("Delete everything")
    assert "tg:7" in talk.gateway.users
    assert talk.api.texts()[-1] == say("forget_expired", "en")


async def test_broadcast(talk: Talk) -> None:
    talk.gateway.users |= {"tg:7": {}, "tg:8": {}}
    assert (await talk.say("/broadcast Maintenance at six", user=ADMIN))[-1] == "Maintenance at six"
    await talk.press("Cancel", user=ADMIN)
    assert talk.gateway.broadcasts == {}
    await talk.say("/broadcast Maintenance at six", user=ADMIN)
    first = talk.api.person(ADMIN).presses("Send to everybody")
    second = talk.api.person(ADMIN).presses("Send to everybody")  # before the first is handled
    await talk.handle()
    assert first != second
    assert list(talk.gateway.broadcasts.values()) == ["Maintenance at six"]
    assert talk.api.texts().count(say("broadcast_started", "en", count=2)) == 1


async def test_gateway_away(talk: Talk) -> None:
    await talk.say("/start")
    talk.gateway.is_away = True
    for command in ("/start", "/help", "/privacy"):
        assert await talk.say(command) == [say(command[1:], "en")]
    for text in ("/settings", "/stats"):
        assert await talk.say(text) == [say("unavailable", "en")]
    # what is for the assistant waits
    talk.api.say("Hello")
    waiting = asyncio.create_task(talk.handle())
    while talk.api.texts()[-1] != say("message_waits", "en"):
        await asyncio.sleep(0.01)
    assert talk.heard == []
    talk.gateway.is_away = False
    assert await waiting == [say("message_waits", "en")]
    assert [text for text, _ in talk.heard] == ["Hello"]


async def test_the_log_knows_nobody(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    secret, person, username = "Mein Geheimnis", 712345678, "annushka"
    talk.api.person(person, name="Annegret").user["username"] = username
    with caplog.at_level(logging.INFO, logger="ai_assistant"):
        await talk.say(secret, user=person)
        await talk.say("/settings", user=person)
        await talk.press("Persona", user=person)
        await talk.say(f"/deny {person}", user=ADMIN)
        await talk.say(secret, user=person)
        talk.gateway.is_away = True
        await talk.say(f"/settings persona {secret}", user=ADMIN)
    records = [record for record in caplog.records if record.name.startswith("ai_assistant")]
    for record in records:
        line = str(record.__dict__ | {"message": record.getMessage(), "created": 0, "msecs": 0, "relativeCreated": 0})
        for private in (secret, str(person), username, "Annegret"):
            assert private not in line
    outcomes = [record.__dict__["outcome"] for record in records if record.getMessage() == "update"]
    assert outcomes == ["handled", "handled", "handled", "handled", "denied", "gateway_away"]
    assert set(talk.gateway.request_ids) == {f"tg-{number}" for number in range(1, 5)}  # the fifth is not let in


async def test_stop_button_of_telegram_knows_who(talk: Talk) -> None:
    await talk.say("Hello")
    await talk.bot.send_message_draft(7, 1, text="So far", can_stop=True)
    talk.api.person(7).stops()
    await talk.handle()
    assert [(text, profile.person) for text, profile in talk.heard] == [("Hello", "tg:7"), ("(stop)", "tg:7")]
