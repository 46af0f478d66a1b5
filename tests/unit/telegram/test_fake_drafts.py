"""Drafts as the person sees them, and Stop."""

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import MessageEntity
from telegram import BotApi


async def test_drafts_over_time(api: BotApi, bot: Bot) -> None:
    anna = api.person(7)
    anna.says("Hi")
    topic = anna.topic()
    await bot.send_message_draft(7, 5)
    await bot.send_message_draft(7, 5, text="Once", entities=[MessageEntity(type="bold", offset=0, length=4)])
    await bot.send_message_draft(7, 6, text="Other", message_thread_id=topic)
    shown, other = api.draft(7), api.draft(7, topic)
    assert shown is not None
    assert other is not None
    assert (shown.text, shown.entities, other.text) == ("Once", [{"type": "bold", "offset": 0, "length": 4}], "Other")
    # a message ends the draft of its thread
    await bot.send_message(7, "Once upon a time.")
    assert api.draft(7) is None
    assert api.draft(7, topic) is not None
    assert [(frame.text, frame.draft_id) for frame in api.drafts.frames] == [("", 5), ("Once", 5), ("Other", 6)]
    assert api.drafts.frames[0].at <= api.drafts.frames[1].at


async def test_drafts_end(api: BotApi, bot: Bot) -> None:
    api.say("Hi")
    await bot.send_message_draft(7, 5, text="Once")
    api.clock.advance(25)
    assert api.draft() is not None
    await bot.send_message_draft(7, 5, text="Once")
    api.clock.advance(25)
    assert api.draft() is not None
    api.clock.advance(5)
    assert api.draft() is None


async def test_drafts_that_are_refused(api: BotApi, bot: Bot) -> None:
    api.group(-100)
    api.say("Hi")
    with pytest.raises(TelegramBadRequest, match="TEXTDRAFT_PEER_INVALID"):
        await bot.send_message_draft(-100, 5, text="Once")
    with pytest.raises(TelegramBadRequest, match="draft_id must be non-zero"):
        await bot.send_message_draft(7, 0, text="Once")
    with pytest.raises(TelegramBadRequest, match="message is too long"):
        await bot.send_message_draft(7, 5, text="x" * 4097)
    with pytest.raises(TelegramBadRequest, match="can't parse entities"):
        await bot.send_message_draft(7, 5, text="x", entities=[MessageEntity(type="bold", offset=0, length=4)])
    with pytest.raises(TelegramBadRequest, match="message thread not found"):
        await bot.send_message_draft(7, 5, text="x", message_thread_id=99)
    assert api.drafts.frames == []


async def test_stop(api: BotApi, bot: Bot) -> None:
    anna = api.person(7)
    topic = anna.topic()
    await bot.get_updates(offset=-1)
    with pytest.raises(AssertionError, match="no draft is shown"):
        anna.stops(thread_id=topic)
    await bot.send_message_draft(7, 5, text="Once", message_thread_id=topic)
    with pytest.raises(AssertionError, match="has no Stop button"):
        anna.stops(thread_id=topic)
    await bot.send_message_draft(7, 5, text="Once", message_thread_id=topic, can_stop=True)
    assert anna.stops(thread_id=topic) == 5
    stopped = (await bot.get_updates(offset=-1))[0].stopped_message_generation
    assert stopped is not None
    assert (stopped.chat.id, stopped.draft_id, stopped.message_thread_id) == (7, 5, topic)
    assert api.draft(7, topic) is None
    # later frames of it are taken and not shown
    await bot.send_message_draft(7, 5, text="Once upon", message_thread_id=topic, can_stop=True)
    assert api.draft(7, topic) is None
    assert [frame.after_stop for frame in api.drafts.frames] == [False, False, True]
    await bot.send_message_draft(7, 6, text="Kept", can_stop=True, keep_on_stop=True)
    anna.stops()
    assert api.draft() is not None
    with pytest.raises(AssertionError, match="pressed already"):
        anna.stops()
    api.clock.advance(10)
    assert api.draft() is None
