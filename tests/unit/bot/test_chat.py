"""Private chats and topics: messages become turns of conversations at the gateway, each handed over once."""

import asyncio

import pytest

from ai_assistant.bot.texts import say
from chat_scene import Scene

DAILY = {"conversation:7": {"id": "11111111-1111-4111-8111-111111111111"}}


async def test_a_private_chat_is_one_conversation(scene: Scene) -> None:
    first = scene.api.say("Привет!", language="ru")
    second = scene.api.say("And then?")
    await scene.run()
    assert scene.gateway.texts == ["Привет!", "And then?"]
    one, two = scene.gateway.asked
    assert one["body"]["user_id"] == "tg:7"
    assert "author" not in one["body"]
    assert one["body"]["delivery"]["target"] == {"chat_id": 7, "language": "ru", "message_id": first}
    assert two["body"]["delivery"]["target"]["message_id"] == second
    assert two["conversation_id"] == one["conversation_id"] == scene.gateway.users["tg:7"]["conversation:7"]["id"]
    assert [task_id for task_id, _ in scene.followed] == [one["task_id"], two["task_id"]]
    assert scene.api.texts() == []


async def test_keys_name_bot_and_update(scene: Scene) -> None:
    scene.api.say("Hello")
    updates = await scene.updates()
    await scene.handle(updates)
    assert scene.gateway.asked[0]["key"] == f"tg:4242:{updates[0].update_id}"


async def test_an_update_that_comes_again_asks_nothing_again(scene: Scene) -> None:
    """Killed after the 202: the conversation is noted or not."""
    scene.api.say("Hello")
    updates = await scene.updates()
    await scene.handle(updates)
    for _ in range(2):
        await scene.handle(updates)
        assert (scene.gateway.texts, scene.api.texts()) == (["Hello"], [])
        scene.gateway.users.clear()
    assert scene.gateway.users == {}
    await scene.handle(updates)
    assert scene.gateway.users["tg:7"]["conversation:7"]["id"] == scene.gateway.asked[0]["conversation_id"]


async def test_topics_have_conversations_of_their_own(scene: Scene) -> None:
    anna = scene.api.person(7)
    topics = [anna.topic("One"), anna.topic("Two")]
    for text, topic in (("a", topics[0]), ("b", topics[1]), ("c", topics[0])):
        anna.says(text, thread_id=topic)
    anna.says("d")
    await scene.run()
    conversations = [item["conversation_id"] for item in scene.gateway.asked]
    assert conversations[0] == conversations[2]
    assert len(set(conversations)) == 3
    assert [item["body"]["delivery"]["target"].get("thread_id") for item in scene.gateway.asked] == [*topics, topics[0], None]
    assert set(scene.gateway.users["tg:7"]) == {"conversation:7", *(f"conversation:7:{topic}" for topic in topics)}


async def test_a_conversation_that_was_deleted_elsewhere(scene: Scene) -> None:
    scene.gateway.users["tg:7"] = dict(DAILY)
    scene.api.say("Hello")
    await scene.run()
    (asked,) = scene.gateway.asked
    assert "conversation_id" not in asked["body"]
    assert scene.gateway.users["tg:7"]["conversation:7"] == {"id": asked["conversation_id"]}


async def test_conversations_noted_by_the_previous_release(scene: Scene) -> None:
    scene.gateway.conversations["old"] = "tg:7", "assistant"
    scene.gateway.users["tg:7"] = {"conversation:7": "old"}
    scene.api.say("Hello")
    await scene.run()
    assert scene.gateway.asked[0]["conversation_id"] == "old"


async def test_persona_and_assistant(scene: Scene) -> None:
    scene.gateway.users["tg:7"] = {"assistant": "pirate", "persona": "Speak in rhymes."}
    scene.api.say("one")
    await scene.run()
    scene.api.say("two")
    await scene.run()
    assert [item["body"]["assistant"] for item in scene.gateway.asked] == ["pirate"] * 2
    assert [item["body"]["instructions"] for item in scene.gateway.asked] == ["Speak in rhymes."] * 2
    # a conversation is with one assistant, also when the default one comes back
    for settings in ({"assistant": "sailor"}, {"assistant": None}):
        before = scene.gateway.asked[-1]["conversation_id"]
        scene.gateway.respond("PATCH", "/api/users/tg:7", {}, {"settings": settings})
        scene.api.say("three")
        await scene.run()
        assert scene.gateway.asked[-1]["conversation_id"] != before
    assert scene.api.texts() == []


async def test_a_persona_that_the_assistant_forbids_is_left_out(scene: Scene) -> None:
    scene.gateway.users["tg:7"] = {"persona": "Speak in rhymes."}
    scene.gateway.forbids_persona = True
    scene.api.say("one")
    await scene.run()
    assert scene.gateway.texts == ["one"]
    assert "instructions" not in scene.gateway.asked[0]["body"]


@pytest.mark.parametrize(
    ("status", "code", "key", "values"),
    [
        (404, "assistant_not_found", "refused_assistant", {}),
        (413, "body_too_large", "refused_too_long", {}),
        (401, "unauthorized", "refused_setup", {}),
        (422, "invalid_request", "failed", {"message": "No."}),
    ],
)
async def test_refusals_are_sentences(scene: Scene, status: int, code: str, key: str, values: dict[str, str]) -> None:
    scene.gateway.refusals = [(status, code)]
    scene.api.say("Hello", language="ru")
    scene.api.say("Me too", user=8)
    await scene.run()
    assert scene.api.texts() == [say(key, "ru", **values)]
    assert scene.gateway.texts == ["Me too"]


async def test_a_slow_gateway_is_told_once_and_the_message_is_kept(scene: Scene) -> None:
    scene.tell_seconds = 0.1
    scene.restart()
    scene.gateway.slow_seconds = 0.5
    scene.api.say("Hello", language="ru")
    await scene.run()
    assert scene.api.texts() == [say("kept", "ru")]
    assert scene.gateway.texts == ["Hello"]


async def test_a_bot_that_stops_while_it_waits_has_confirmed_nothing(scene: Scene) -> None:
    scene.gateway.slow_seconds = 0.5
    scene.api.say("Hello")
    updates = await scene.updates()
    handling = asyncio.create_task(scene.handle(updates))
    await asyncio.sleep(0.1)
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    scene.gateway.slow_seconds = 0
    scene.restart()
    await scene.handle(updates)
    assert (scene.gateway.texts, scene.api.texts()) == (["Hello"], [])


async def test_what_cannot_be_read_is_said_once(scene: Scene) -> None:
    anna = scene.api.person(7, language="ru")
    for kind in ("photo", "photo", "voice", "sticker"):
        anna.sends(kind)
    anna.topic()  # Telegram's own news are nobody's message
    await scene.run()
    assert scene.api.texts() == [say("only_text", "ru")]
    assert scene.gateway.asked == []


async def test_of_an_album_the_caption_is_asked(scene: Scene) -> None:
    anna = scene.api.person(7)
    anna.sends("photo", caption="What is this?")
    anna.sends("photo")
    await scene.run()
    assert scene.gateway.texts == ["What is this?"]
    assert scene.api.texts() == [say("only_caption", "en")]


async def test_commands_that_nobody_knows(scene: Scene) -> None:
    for text in ("/imagine", "/imagine a cat", "/new@other_bot", "/usr/bin is what?"):
        scene.api.say(text)
    await scene.run()
    assert scene.api.texts() == [say("unknown_command", "en")]
    assert scene.gateway.texts == ["/imagine a cat", "/usr/bin is what?"]


async def test_new_begins_a_conversation_and_forgets_what_is_being_written(scene: Scene) -> None:
    topic = scene.api.person(7).topic()
    scene.api.say("one")
    scene.api.say("two")
    scene.api.say("elsewhere", thread_id=topic)
    await scene.run()
    scene.gateway.finish(0)
    scene.api.say("/new")
    scene.api.say("three")
    updates = await scene.updates()
    await scene.handle(updates)
    assert scene.gateway.withdrawn == ["two"]
    assert scene.api.texts() == [say("new", "en")]
    assert scene.gateway.asked[-1]["conversation_id"] != scene.gateway.asked[0]["conversation_id"]
    assert "conversation_id" not in scene.gateway.asked[-1]["body"]
    # killed before the updates were confirmed: what was asked after /new is not withdrawn by it
    scene.restart()
    await scene.handle(updates)
    assert (scene.gateway.withdrawn, scene.gateway.texts[3:]) == (["two"], ["three"])
    assert scene.gateway.users["tg:7"]["conversation:7"]["id"] == scene.gateway.asked[-1]["conversation_id"]


async def test_retry(scene: Scene) -> None:
    scene.api.say("/retry")
    scene.api.say("one")
    scene.api.say("two")
    await scene.run()
    assert scene.api.texts() == [say("nothing_to_retry", "en")]
    scene.gateway.finish(0)
    retry = scene.api.say("/retry")
    updates = await scene.updates()
    for _ in range(2):
        await scene.handle(updates)
        assert len(scene.gateway.asked) == 3
    again = scene.gateway.asked[-1]
    assert again["body"]["regenerate_of"] == scene.gateway.asked[1]["answer_message_id"]
    assert "message" not in again["body"]
    assert again["body"]["delivery"]["target"]["message_id"] == retry
    # the answer that was being written is not wanted any more; the new one is
    assert scene.gateway.withdrawn == ["two"]
    scene.api.say("/new")
    scene.api.say("/retry")
    await scene.run()
    assert scene.api.texts()[1:] == [say("new", "en"), say("nothing_to_retry", "en")]
