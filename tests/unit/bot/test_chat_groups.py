"""Groups: the bot answers when it is spoken to, and nothing of the rest leaves it."""

import pytest
from telegram import Group

from ai_assistant.bot.texts import say
from chat_scene import Scene


@pytest.fixture
def team(scene: Scene) -> Group:
    return scene.api.group(-100, [scene.api.person(7), scene.api.person(8, name="Boris")])


async def test_only_what_speaks_to_the_bot_is_asked(scene: Scene, team: Group) -> None:
    anna = scene.api.person(7)
    asked = anna.mentions_bot("what is the time?", team)
    anna.says("nobody asked @other_bot", team)
    anna.says("/ask@other_bot something", team)
    anna.says("/ask something", team)
    anna.says("mail me at anna@test_bot.example", team)
    anna.sends("photo", team)
    anna.sends("photo", team, caption="look")
    anna.says("/ask@test_bot what is this?", team)
    anna.says("And you, @Test_Bot, what do you say?", team)
    anna.mentions_bot("no user name", team, by_name=False)
    await scene.run()
    assert scene.gateway.texts == ["what is the time?", "/ask what is this?", "And you, what do you say?", "no user name"]
    body = scene.gateway.asked[0]["body"]
    assert (body["user_id"], body["author"]) == ("tg-chat:-100", "tg:7")
    assert body["delivery"]["target"] == {
        "chat_id": -100, "language": "en", "message_id": asked, "is_group": True, "reply_to": asked,
    }  # fmt: skip
    assert len({item["conversation_id"] for item in scene.gateway.asked}) == 1


async def test_nothing_is_asked_of_the_gateway_for_what_is_not_for_the_bot(scene: Scene, team: Group) -> None:
    anna = scene.api.person(7)
    number = anna.says("hello everybody", team)
    anna.edits(number, "hello, everybody", team)
    await scene.run()
    assert (scene.gateway.requests, scene.api.texts()) == ([], [])


async def test_a_reply_to_the_bot_needs_no_mention(scene: Scene, team: Group) -> None:
    anna = scene.api.person(7)
    await scene.bot.send_message(-100, "It is noon.")
    anna.says("Are you sure?", team, reply_to=scene.api.answers(-100)[0].message_id)
    await scene.run()
    assert scene.gateway.texts == ["Are you sure?"]


async def test_a_mention_below_somebody_elses_message_quotes_it(scene: Scene, team: Group) -> None:
    anna, boris = scene.api.person(7), scene.api.person(8)
    said = boris.says("The Earth\nis flat.", team)
    anna.says("@test_bot is that so?", team, reply_to=said)
    anna.says("@test_bot", team, reply_to=said)
    anna.says("@test_bot", team)
    await scene.run()
    quote = "Boris:\n> The Earth\n> is flat."
    assert scene.gateway.texts == [f"{quote}\n\nis that so?", quote]
    assert scene.api.texts() == [say("ask_me", "en")]


async def test_names_come_with_the_second_person(scene: Scene, team: Group) -> None:
    anna, boris = scene.api.person(7), scene.api.person(8)
    for person, text in ((anna, "one"), (anna, "two"), (boris, "three"), (anna, "four")):
        person.mentions_bot(text, team)
        await scene.run()
    assert scene.gateway.texts == ["one", "two", "Boris: three", "Anna: four"]
    assert [item["body"]["author"] for item in scene.gateway.asked] == ["tg:7", "tg:7", "tg:8", "tg:7"]
    # nobody is named in what is noted of a group
    assert "tg:" not in str(scene.gateway.users["tg-chat:-100"])
    scene.restart()
    anna.mentions_bot("five", team)
    await scene.run()
    assert scene.gateway.texts[-1] == "Anna: five"


async def test_topics_of_a_forum(scene: Scene) -> None:
    anna = scene.api.person(7)
    forum = scene.api.group(-200, [anna], forum=True)
    topics = [forum.topic("One"), forum.topic("Two")]
    for topic in topics:
        anna.mentions_bot("hello", forum, thread_id=topic)
        anna.says("not for the bot", forum, thread_id=topic)
    anna.mentions_bot("general", forum)
    await scene.run()
    assert scene.gateway.texts == ["hello", "hello", "general"]
    assert len({item["conversation_id"] for item in scene.gateway.asked}) == 3
    assert set(scene.gateway.users["tg-chat:-200"]) == {
        "conversation:-200", *(f"conversation:-200:{topic}" for topic in topics),
    }  # fmt: skip


async def test_threads_of_replies_are_no_topics(scene: Scene, team: Group) -> None:
    anna = scene.api.person(7)
    first = anna.mentions_bot("one", team)
    anna.says("@test_bot two", team, reply_to=first)
    await scene.run()
    assert len({item["conversation_id"] for item in scene.gateway.asked}) == 1
    assert "thread_id" not in scene.gateway.asked[1]["body"]["delivery"]["target"]


async def test_refusals_reply_to_whoever_asked(scene: Scene, team: Group) -> None:
    scene.gateway.refusals = [(404, "assistant_not_found")]
    asked = scene.api.person(7).mentions_bot("hello", team)
    await scene.run()
    assert [(item.text, item.reply_to) for item in scene.api.answers()] == [(say("refused_assistant", "en"), asked)]


async def test_an_edit_that_adds_the_mention_asks(scene: Scene, team: Group) -> None:
    anna = scene.api.person(7)
    number = anna.says("what is the time?", team)
    anna.edits(number, "@test_bot what is the time?", team)
    await scene.run()
    assert scene.gateway.texts == ["what is the time?"]
