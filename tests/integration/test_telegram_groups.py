"""Groups in Telegram with the real gateway, worker and model: who is answered, where, and who may stop it."""

import itertools

from integration.telegram_town import LONG, Town

pytest_plugins = ["integration.telegram_fixtures"]


def test_mentions_and_replies_are_answered_and_nothing_else(town: Town) -> None:
    group = town.group(-31, 31, 32)
    anna, boris = town.api.person(31), town.api.person(32)
    boris.says("Nobody asks the bot anything.", group)
    asked = anna.mentions_bot("What is the capital of France?", group)
    (answer,) = town.answers(-31, 1)
    assert "Paris" in answer
    (message,) = town.api.answers(-31)
    assert message.reply_to == asked
    replied = boris.says("And what is the capital of Italy?", group, reply_to=message.message_id)
    town.answers(-31, 2)
    assert town.api.answers(-31)[1].reply_to == replied
    assert len(town.owed(-31)) == 2
    texts = [item["text"] for item in town.conversation("tg-chat:-31") if item["role"] == "user"]
    assert texts == ["What is the capital of France?", "Anna: And what is the capital of Italy?"]
    assert all("Nobody" not in text for text in texts)


def test_an_answer_grows_in_one_message_and_keeps_to_the_rates(town: Town) -> None:
    group = town.group(-33, 33)
    town.api.person(33).mentions_bot(LONG, group)
    town.answers(-33, 1, 120)
    (message,) = town.api.answers(-33)
    assert message.markup is None
    times = [message.at, *(at for at, _ in message.edits)]
    assert len(times) >= 3
    # previews at most one a second; the answer itself is not kept waiting by that
    assert min(later - earlier for earlier, later in itertools.pairwise(times[:-1])) >= 0.95
    assert len(times) <= 16
    assert [kind for _, chat, _, kind in town.api.record.actions if chat == -33]


def test_topics_of_a_forum(town: Town) -> None:
    forum = town.group(-37, 37, forum=True)
    person = town.api.person(37)
    topics = [forum.topic("One"), forum.topic("Two")]
    for topic in topics:
        person.mentions_bot("What is the capital of France?", forum, thread_id=topic)
    town.answers(-37, 2)
    assert [item.thread_id for item in town.api.answers(-37)] == topics
    conversations = town.platform.client.get("/api/conversations", params={"user_id": "tg-chat:-37"}).json()["conversations"]
    assert len(conversations) == 2
    # /new in one topic leaves the other one alone
    person.says("/new@test_bot", forum, thread_id=topics[0])
    town.answers(-37, 3)
    person.mentions_bot("And of Italy?", forum, thread_id=topics[1])
    town.answers(-37, 4)
    counts = [len(town.messages("tg-chat:-37", item["id"])) for item in conversations]
    assert sorted(counts) == [2, 4]
