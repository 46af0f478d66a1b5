"""Edits: a changed question is asked anew, and its old answer withdrawn where it is still to come."""

from ai_assistant.bot.texts import say
from chat_scene import Scene


async def test_an_edit_while_the_answer_is_written(scene: Scene) -> None:
    anna = scene.api.person(7)
    number = anna.says("What is the capital of Frnce?")
    await scene.run()
    anna.edits(number, "What is the capital of France?")
    updates = await scene.updates()
    await scene.handle(updates)
    first, again = scene.gateway.asked
    assert again["body"]["edit_of"] == first["user_message_id"]
    assert again["conversation_id"] == first["conversation_id"]
    assert again["body"]["delivery"]["target"]["message_id"] == number
    assert scene.gateway.withdrawn == ["What is the capital of Frnce?"]
    # killed before it was confirmed, or in between
    first["state"] = "waiting"
    scene.restart()
    await scene.handle(updates)
    assert len(scene.gateway.asked) == 2
    assert (first["state"], again["state"]) == ("waiting", "waiting")  # the text is known already: nothing to do
    assert scene.api.texts() == []


async def test_an_edit_of_an_old_message_is_a_branch(scene: Scene) -> None:
    anna = scene.api.person(7)
    number = anna.says("one")
    anna.says("two")
    await scene.run()
    for index in range(2):
        scene.gateway.finish(index)
    for text in ("uno", "eins"):
        anna.edits(number, text)
        await scene.run()
    assert scene.gateway.texts == ["one", "two", "uno", "eins"]
    assert [item["body"].get("edit_of") for item in scene.gateway.asked[2:]] == [scene.gateway.asked[0]["user_message_id"]] * 2
    assert scene.gateway.withdrawn == ["uno"]


async def test_edits_without_another_text_are_nothing(scene: Scene) -> None:
    anna = scene.api.person(7)
    number = anna.says("See https://example.com")
    await scene.run()
    anna.edits(number, "See https://example.com")  # Telegram has added the preview
    await scene.run()
    assert len(scene.gateway.asked) == 1
    assert scene.gateway.withdrawn == []


async def test_an_edit_of_what_was_refused_asks(scene: Scene) -> None:
    anna = scene.api.person(7)
    scene.gateway.refusals = [(413, "body_too_large")]
    number = anna.says("too long")
    await scene.run()
    anna.edits(number, "short")
    await scene.run()
    assert scene.gateway.texts == ["short"]
    assert "edit_of" not in scene.gateway.asked[0]["body"]


async def test_an_edit_in_a_conversation_that_was_deleted(scene: Scene) -> None:
    anna = scene.api.person(7)
    number = anna.says("one")
    await scene.run()
    scene.gateway.conversations.clear()
    anna.edits(number, "two")
    await scene.run()
    assert scene.gateway.texts == ["one", "two"]
    assert "edit_of" not in scene.gateway.asked[1]["body"]


async def test_a_part_of_a_long_message_cannot_be_edited(scene: Scene) -> None:
    anna = scene.api.person(7)
    numbers = anna.pastes("a" * 5000)
    await scene.run()
    anna.edits(numbers[1], "b")
    await scene.run()
    assert scene.api.texts() == [say("edit_of_long", "en")]
    assert len(scene.gateway.asked) == 1
