"""A private chat in Telegram with the real gateway, worker and model: answers as they are written, Stop, memory."""

import statistics
import time

import pytest
from servers import psql
from telegram.drafts import Frame

from integration.telegram_town import LONG, Town
from telegram_bot import wait_until

pytest_plugins = ["integration.telegram_fixtures"]


def written(town: Town, chat_id: int) -> list[Frame]:
    """The frames of drafts that show some of an answer."""
    return [frame for frame in list(town.api.drafts.frames) if frame.chat_id == chat_id and frame.text]


def ask_for_long(town: Town, person: int, text: str = LONG, **options: str) -> str:
    """Ask, and wait until the answer flows; returns its task."""
    town.api.say(text, user=person, **options)
    task_id = town.task_of(person)
    town.platform.read(task_id).wait_for(40).close()
    return task_id


@pytest.mark.parametrize(("person", "language", "text"), [(11, "en", LONG), (12, "ru", "Расскажи длинную сказку о лисе.")])
def test_an_answer_is_seen_while_it_is_written(town: Town, person: int, language: str, text: str) -> None:
    delays, rates = [], []
    for number in range(3):
        before = len(written(town, person))
        town.api.say(text, user=person, language=language)
        reader = town.platform.read(town.task_of(person))
        reader.wait_for(1)
        first_at = town.api.clock.now()
        final = reader.finish()
        town.wait_delivered(person)
        frames = written(town, person)[before:]
        delays.append(frames[0].at - first_at)
        rates.append((len(frames) - 1) / (frames[-1].at - frames[0].at))
        assert final["status"] == "succeeded"
        # what is seen grows, and is the beginning of what comes
        lengths = [len(frame.text) for frame in frames]
        assert lengths == sorted(lengths)
        assert town.api.texts(person)[-1].startswith(frames[-1].text.strip()[:50]), number
        assert all(frame.can_stop for frame in frames)
        assert town.api.draft(person) is None
        town.api.say("/new", user=person)
        town.wait_delivered(person)
    assert statistics.median(delays) <= 1.0, delays
    assert statistics.median(rates) >= 2.0, rates
    new = "Новая беседа. О чём поговорим?" if language == "ru" else "A new conversation. What would you like to talk about?"
    assert town.api.texts(person).count(new) >= 2


def test_stop_below_the_draft(town: Town) -> None:
    ask_for_long(town, 13)
    wait_until(lambda: bool(written(town, 13)), 10)
    assert town.slots_in_use() == 1
    town.api.person(13).stops()
    assert town.seconds_until_free() <= 2.0
    (text,) = town.answers(13, 1)
    assert text.endswith("… (stopped)")
    assert len(text) > 30
    assert town.owed(13)[-1]["state"] == "delivered"


def test_stop_by_command(town: Town) -> None:
    task_id = ask_for_long(town, 14, "Расскажи длинную сказку о лисе.", language="ru")
    town.api.say("/stop", user=14)
    assert town.seconds_until_free() <= 2.0
    texts = town.answers(14, 2)
    assert "Остановлено." in texts
    assert any(text.endswith("… (остановлено)") for text in texts)
    assert town.platform.status(task_id)["status"] == "cancelled"


def test_new_forgets_and_what_was_being_written_is_not_told(town: Town) -> None:
    town.api.say("My name is Zebulon.", user=15)
    town.answers(15, 1)
    ask_for_long(town, 15)
    town.api.say("/new", user=15)
    assert town.seconds_until_free() <= 2.0
    town.api.say("Hello!", user=15)
    town.answers(15, 3)
    time.sleep(0.5)
    texts = town.api.texts(15)
    assert len(texts) == 3, texts
    assert texts[1] == "A new conversation. What would you like to talk about?"
    assert [item["text"] for item in town.conversation("tg:15") if item["role"] == "user"] == ["Hello!"]


def test_several_messages_are_answered_in_order(town: Town) -> None:
    questions = ["Name a colour.", "Name an animal.", "Name a river.", "Name a city."]
    first = town.api.say(questions[0], user=16)
    numbers = [first, *(town.api.say(text, user=16) for text in questions[1:])]
    town.answers(16, 4, 90)
    assert [item["target"]["message_id"] for item in town.owed(16)] == numbers
    sent = [item.message_id for item in town.api.answers(16)]
    assert sent == sorted(sent)
    roles = [(item["role"], item["text"]) for item in town.conversation("tg:16")]
    assert [text for role, text in roles if role == "user"] == questions
    assert [text for role, text in roles if role == "assistant"] == [item.text for item in town.api.answers(16)]


def test_an_edit_asks_again(town: Town) -> None:
    number = town.api.say("Hello!", user=17)
    town.answers(17, 1)
    town.api.person(17).edits(number, "What is the capital of France?")
    assert "Paris" in town.answers(17, 2)[1]
    # the new question stands in the place of the old one
    assert [item["text"] for item in town.conversation("tg:17") if item["role"] == "user"][-1] == "What is the capital of France?"

    # while it is being answered, the old answer is not told at all
    number = town.api.say(LONG, user=17)
    town.platform.read(town.task_of(17)).wait_for(20).close()
    town.api.person(17).edits(number, "What is the capital of France?")
    texts = town.answers(17, 3)
    time.sleep(0.5)
    assert len(town.api.texts(17)) == 3
    assert "Paris" in texts[2]


def test_a_message_that_the_client_has_cut_gets_one_answer(town: Town) -> None:
    numbers = town.api.person(18).pastes("The fox and the river. " * 230 + "What is the capital of France?")
    assert len(numbers) == 2
    town.answers(18, 1, 90)
    time.sleep(1)
    assert len(town.owed(18)) == 1
    asked = [item["text"] for item in town.conversation("tg:18") if item["role"] == "user"]
    assert len(asked) == 1
    assert asked[0].endswith("What is the capital of France?")


def test_retry_and_persona(town: Town) -> None:
    town.api.say("What is the capital of France?", user=19)
    town.answers(19, 1)
    town.api.say("/retry", user=19)
    assert "Paris" in town.answers(19, 2)[1]
    assert len([item for item in town.conversation("tg:19") if item["role"] == "user"]) == 1

    town.api.say("/settings persona You are a pirate. Begin every answer with the word Arrr.", user=19)
    town.answers(19, 3)
    town.api.say("What is the capital of Spain?", user=19)
    town.answers(19, 4)
    query = "SELECT count(*) FROM tasks WHERE instructions LIKE '%word Arrr%'"
    assert psql(town.platform.database_url, query) == "1"


def test_topics_of_a_private_chat_are_conversations_of_their_own(town: Town) -> None:
    person = town.api.person(20)
    topics = [person.topic("One"), person.topic("Two")]
    for topic in topics:
        person.says("What is the capital of France?", thread_id=topic)
    town.answers(20, 2)
    assert sorted(item.thread_id or 0 for item in town.api.answers(20)) == sorted(topics)
    conversations = town.platform.client.get("/api/conversations", params={"user_id": "tg:20"}).json()["conversations"]
    assert len(conversations) == 2
    assert {frame.thread_id for frame in town.api.drafts.frames if frame.chat_id == 20} <= set(topics)
