"""What Telegram's apps cut is one message again, with nothing lost."""

import datetime
from typing import Any

import pytest
from aiogram.types import Update

from ai_assistant.bot.message_joining import join_splits, joined, units
from chat_scene import Scene

NOON = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)


def update(number: int, text: str | None, *, user: int = 7, after: float = 0, **more: Any) -> Update:
    message = {
        "message_id": number,
        "date": int((NOON + datetime.timedelta(seconds=after)).timestamp()),
        "chat": {"id": 1, "type": "private"},
        "from": {"id": user, "is_bot": False, "first_name": "Anna"},
        **({"text": text} if text is not None else {}),
        **more,
    }
    return Update.model_validate({"update_id": 100 + number, "message": message})


def texts(*updates: Update) -> list[str | None]:
    return [group.update.message.text for group in join_splits(updates) if group.update.message is not None]


FULL, LONG = "a" * 4096, "b" * 4050


def test_parts_follow_each_other() -> None:
    (group,) = join_splits([update(1, FULL), update(2, FULL), update(3, "end")])
    assert group.update_ids == (101, 102, 103)
    assert group.update.update_id == 101
    assert group.update.message is not None
    assert group.update.message.text == FULL + FULL + "end"
    assert not group.is_open


def test_white_space_at_a_cut_comes_back() -> None:
    assert texts(update(1, LONG), update(2, "end")) == [f"{LONG}\nend"]
    emoji = "😀" * 2048
    assert units(emoji) == 4096
    assert texts(update(1, emoji), update(2, "end")) == [emoji + "end"]


def test_a_rest_may_still_come() -> None:
    assert [group.is_open for group in join_splits([update(1, "short"), update(2, FULL)])] == [False, True]
    assert [group.is_open for group in join_splits([update(1, FULL), update(2, FULL)])] == [True]
    assert [group.is_open for group in join_splits([update(1, FULL), update(2, None, sticker=None)])] == [False, False]


@pytest.mark.parametrize(
    "second",
    [
        update(2, "somebody else", user=8),
        update(2, "much later", after=60),
        update(2, "another topic", message_thread_id=5),
        update(2, "/stop"),
        update(2, "forwarded", forward_origin={"type": "hidden_user", "date": 1, "sender_user_name": "Boris"}),
    ],
)
def test_what_is_no_rest(second: Update) -> None:
    assert len(join_splits([update(1, FULL), second])) == 2


def test_short_messages_are_never_joined() -> None:
    assert texts(update(1, "a" * 3999), update(2, "b")) == ["a" * 3999, "b"]


def test_people_who_write_at_once() -> None:
    groups = join_splits([update(1, FULL), update(2, "b" * 4096, user=8), update(3, "a", user=7), update(4, "b", user=8)])
    assert [group.update_ids for group in groups] == [(101, 103), (102, 104)]


def test_entities_move_along() -> None:
    mention = {"type": "bold", "offset": 1, "length": 2}
    whole = joined([update(1, "😀" + "a" * 4048), update(2, "bcd", entities=[mention])])
    assert whole.message is not None
    assert whole.message.entities is not None
    assert whole.message.text is not None
    assert whole.message.entities[0].extract_from(whole.message.text) == "cd"


async def test_a_pasted_text_is_one_question(scene: Scene) -> None:
    anna = scene.api.person(7)
    text = "0123456789" * 1000
    numbers = anna.pastes(text)
    await scene.run()
    assert scene.gateway.texts == [text]
    target = scene.gateway.asked[0]["body"]["delivery"]["target"]
    assert (target["message_id"], target["last_message_id"]) == (numbers[0], numbers[-1])


async def test_a_rest_that_came_too_late_for_a_bot_that_was_killed(scene: Scene) -> None:
    """The first part was handed over alone; after the restart Telegram brings it again, together with the rest."""
    anna = scene.api.person(7)
    anna.pastes("a" * 4096 + "b" * 4096 + "end")
    first, *rest = await scene.updates()
    await scene.handle([first])
    scene.restart()
    await scene.handle([first, *rest])
    assert scene.gateway.texts == ["a" * 4096, "b" * 4096 + "end"]
    assert [item["key"] for item in scene.gateway.asked] == [f"tg:4242:{item.update_id}" for item in (first, rest[0])]
    scene.restart()
    await scene.handle([first, *rest])
    assert len(scene.gateway.asked) == 2
