"""What people do, as the bot's library reads it."""

from aiogram import Bot
from aiogram.types import Message, Update
from telegram import BotApi


async def everything(bot: Bot) -> list[Update]:
    """All updates; the next call gets those after them."""
    updates = await bot.get_updates()
    if updates:
        await bot.get_updates(offset=updates[-1].update_id + 1, limit=1)
    return updates


async def messages(bot: Bot) -> list[Message]:
    return [update.message for update in await everything(bot) if update.message is not None]


async def test_private(api: BotApi, bot: Bot) -> None:
    anna = api.person(7, language="ru")
    anna.says("/start now")
    anna.says("Hello @test_bot, see a/b and x@example.org")
    (start, hello) = await messages(bot)
    assert start.from_user is not None
    assert (start.from_user.id, start.from_user.language_code, start.chat.type) == (7, "ru", "private")
    assert [(mark.type, mark.offset, mark.length) for mark in start.entities or []] == [("bot_command", 0, 6)]
    assert [(mark.type, mark.offset, mark.length) for mark in hello.entities or []] == [("mention", 6, 9)]
    api.say("Hi", language="de")
    assert anna.user["language_code"] == "de"


async def test_pasted_text_is_cut(api: BotApi, bot: Bot) -> None:
    text = "a" * 4095 + "👍" + "b" * 4100
    assert len(api.person().pastes(text)) == 3
    parts = [message.text or "" for message in await messages(bot)]
    assert [len(part) for part in parts] == [4095, 4095, 6]
    assert "".join(parts) == text


async def test_groups(api: BotApi, bot: Bot) -> None:
    anna, boris = api.person(7), api.person(8, name="Boris")
    team = api.group(-100, [anna, boris], forum=True)
    (added,) = await everything(bot)
    assert added.my_chat_member is not None
    assert (added.my_chat_member.old_chat_member.status, added.my_chat_member.new_chat_member.status) == ("left", "member")
    topic = team.topic("Python")
    anna.mentions_bot("why?", team, thread_id=topic)
    boris.mentions_bot("why?", team, by_name=False)
    answer = await bot.send_message(-100, "Because.", message_thread_id=topic)
    boris.says("But", team, reply_to=answer.message_id)
    created, by_name, by_text, reply = await messages(bot)
    assert created.forum_topic_created is not None
    assert (created.message_id, created.message_thread_id) == (topic, topic)
    assert (by_name.text, by_name.message_thread_id, by_name.is_topic_message) == ("@test_bot why?", topic, True)
    assert [mark.type for mark in by_name.entities or []] == ["mention"]
    # Telegram calls whatever is said in a topic a reply to its beginning
    assert by_name.reply_to_message is not None
    assert by_name.reply_to_message.message_id == topic
    assert by_text.reply_to_message is created.reply_to_message is None
    assert (by_text.text, by_text.message_thread_id) == ("Test why?", None)
    assert by_text.entities is not None
    assert by_text.entities[0].user is not None
    assert (by_text.entities[0].type, by_text.entities[0].user.id) == ("text_mention", bot.id)
    assert reply.reply_to_message is not None
    assert reply.reply_to_message.from_user is not None
    assert (reply.reply_to_message.from_user.id, reply.message_thread_id) == (bot.id, topic)
    assert (await bot.get_chat(-100)).is_forum
    assert (await bot.get_chat_member(-100, 7)).status == "creator"
    team.joins(api.person(9), admin=True)
    assert {member.user.id for member in await bot.get_chat_administrators(-100)} == {7, 9}
    team.leaves(boris)
    joined, left = await messages(bot)
    assert joined.new_chat_members is not None
    assert left.left_chat_member is not None
    team.kicks_bot()
    anna.says("Alone at last", team)
    (kicked,) = await everything(bot)
    assert kicked.my_chat_member is not None
    assert kicked.my_chat_member.new_chat_member.status == "kicked"


async def test_upgrade(api: BotApi, bot: Bot) -> None:
    anna = api.person(7)
    team = api.group(-100, [anna, api.person(8)], kind="group")
    await everything(bot)
    new = team.upgrades(-1001)
    assert sorted(new.chat.members) == [7, 8]
    old_message, new_message = await messages(bot)
    assert (old_message.chat.id, old_message.migrate_to_chat_id) == (-100, -1001)
    assert (new_message.chat.id, new_message.migrate_from_chat_id) == (-1001, -100)


async def test_what_is_not_text(api: BotApi, bot: Bot) -> None:
    anna = api.person(7)
    kinds = ["photo", "sticker", "voice", "video", "video_note", "audio", "document", "location", "contact"]
    for kind in kinds:
        anna.sends(kind)
    anna.sends("photo", caption="Look, @test_bot")
    found = await messages(bot)
    assert [message.content_type for message in found] == [*kinds, "photo"]
    assert (found[-1].text, found[-1].caption) == (None, "Look, @test_bot")


async def test_blocking_is_told(api: BotApi, bot: Bot) -> None:
    anna = api.person(7)
    anna.knows_bot()
    anna.blocks()
    anna.unblocks()
    changes = [update.my_chat_member for update in await everything(bot)]
    assert [change and (change.new_chat_member.status, change.chat.id) for change in changes] == [("kicked", 7), ("member", 7)]


async def test_deleted_messages(api: BotApi, bot: Bot) -> None:
    anna = api.person(7)
    anna.knows_bot()
    sent = await bot.send_message(7, "Hi")
    anna.deletes(sent.message_id)
    assert api.texts() == []
    assert [message.text for message in api.record.sent] == ["Hi"]
    assert await everything(bot) == []
