"""Too many messages."""

from collections.abc import Iterator

import pytest
from bot_talk import talking
from telegram import BotApi, started_bot_api

from ai_assistant.bot.texts import say
from ai_assistant.bot.throttle import Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def api() -> Iterator[BotApi]:
    with started_bot_api() as api:
        yield api


def test_burst_then_rate() -> None:
    clock = Clock()
    throttle = Throttle(20, 10, clock)
    assert [throttle.take(7) for _ in range(10)] == [0] * 10
    assert throttle.take(7) == pytest.approx(3)
    assert throttle.take(8) == 0
    clock.now += 3.01
    assert throttle.take(7) == 0
    assert throttle.take(7) > 2


def test_one_notice_per_episode() -> None:
    clock = Clock()
    throttle = Throttle(60, 4, clock)
    notices = 0
    for _ in range(100):  # five in a second, for 20 s
        if throttle.take(7) and throttle.is_first_refusal(7):
            notices += 1
        clock.now += 0.2
    assert notices == 1
    clock.now += 60
    while not throttle.take(7):
        pass
    assert throttle.is_first_refusal(7)


def test_idle_buckets_are_dropped() -> None:
    clock = Clock()
    throttle = Throttle(60, 10, clock)
    for person in range(1000):
        throttle.take(person)
    assert len(throttle) == 1000
    clock.now += 11
    throttle.take(1)
    assert len(throttle) == 1


async def test_messages_and_edits_count_and_stop_does_not(api: BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"telegram_access": "open", "telegram_admins": [1], "telegram_message_burst": 3}
    async with talking(api, monkeypatch, **settings) as talk:
        number = api.say("0")
        await talk.handle()
        for text in ("1", "2"):
            api.person(7).edits(number, text)
        assert await talk.handle() == []
        assert await talk.say("3") == [say("throttled", "en", seconds=3)]
        assert await talk.say("4") == []
        await talk.say("/stop")
        await talk.say("hello", user=8)
        for text in "abcdef":
            await talk.say(text, user=1)
        assert [text for text, _ in talk.heard] == ["0", "1", "2", "/stop", "hello", *"abcdef"]


async def test_a_group_as_a_whole(api: BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    async with talking(api, monkeypatch, telegram_access="open", telegram_message_burst=2) as talk:
        people = [api.person(number) for number in range(10, 20)]
        group = api.group(-100, people)
        for person in people:
            person.mentions_bot("Hi", group)
        assert len(await talk.handle()) == 1
        assert len(talk.heard) == 6
