"""Messages that a bot sends, edits and deletes, and what Telegram refuses."""

import asyncio

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError, TelegramMigrateToChat, TelegramUnauthorizedError
from aiogram.types import BufferedInputFile, InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity, ReplyParameters
from telegram import TOKEN, BotApi


def keyboard(data: str, text: str = "Stop") -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text=text, callback_data=data)]])


async def test_text_and_what_a_reader_sees(api: BotApi, bot: Bot) -> None:
    asked = api.say("Привет!", language="ru")
    sent = await bot.send_message(
        7,
        "  Ответ 👍 ",
        entities=[MessageEntity(type="bold", offset=8, length=3)],
        reply_parameters=ReplyParameters(message_id=asked),
    )
    assert sent.text == "Ответ 👍"
    assert sent.reply_to_message is not None
    assert sent.reply_to_message.text == "Привет!"
    assert sent.from_user is not None
    assert sent.from_user.id == bot.id
    first, second = api.messages(7)
    assert (first.text, first.from_bot, second.text, second.from_bot) == ("Привет!", False, "Ответ 👍", True)
    assert second.entities == [{"type": "bold", "offset": 6, "length": 2}]
    assert second.message_id == sent.message_id > asked


async def test_texts_that_are_refused(api: BotApi, bot: Bot) -> None:
    api.say("Hi")
    for text, expected in [
        ("", "message text is empty"),
        (" \n ", "message text is empty"),
        ("x" * 4097, "message is too long"),
        ("👍" * 2049, "message is too long"),
    ]:
        with pytest.raises(TelegramBadRequest, match=expected):
            await bot.send_message(7, text)
    with pytest.raises(TelegramBadRequest, match="can't parse entities: bold"):
        await bot.send_message(7, "abc", entities=[MessageEntity(type="bold", offset=0, length=4)])
    with pytest.raises(TelegramBadRequest, match="parse_mode"):
        await bot.send_message(7, "abc", parse_mode="HTML")
    with pytest.raises(TelegramBadRequest, match="chat not found"):
        await bot.send_message(8, "abc")
    with pytest.raises(TelegramBadRequest, match="message to be replied not found"):
        await bot.send_message(7, "abc", reply_parameters=ReplyParameters(message_id=99))
    await bot.send_message(7, "abc", reply_parameters=ReplyParameters(message_id=99, allow_sending_without_reply=True))
    await bot.send_message(7, f" {'👍' * 2048} ")
    assert [len(text) for text in api.texts()] == [3, 2048]
    assert [call.code for call in api.record.of("sendMessage")] == [400] * 8 + [200] * 2


async def test_edit_and_delete(api: BotApi, bot: Bot) -> None:
    asked = api.say("Hi")
    number = (await bot.send_message(7, "one", reply_markup=keyboard("stop"))).message_id
    edited = await bot.edit_message_text("two", chat_id=7, message_id=number, reply_markup=keyboard("stop"))
    assert not isinstance(edited, bool)
    assert edited.edit_date is not None
    with pytest.raises(TelegramBadRequest, match="message is not modified: specified new message content"):
        await bot.edit_message_text(" two ", chat_id=7, message_id=number, reply_markup=keyboard("stop"))
    bold = [MessageEntity(type="bold", offset=0, length=3)]
    await bot.edit_message_text("two", chat_id=7, message_id=number, entities=bold, reply_markup=keyboard("stop"))
    # an edit without buttons removes them
    await bot.edit_message_text("two", chat_id=7, message_id=number, entities=bold)
    assert api.answers()[0].markup is None
    with pytest.raises(TelegramBadRequest, match="message is not modified"):
        await bot.edit_message_reply_markup(chat_id=7, message_id=number)
    with pytest.raises(TelegramBadRequest, match="message can't be edited"):
        await bot.edit_message_text("mine", chat_id=7, message_id=asked)
    assert [text for _, text in api.answers()[0].edits] == ["two"] * 3
    assert await bot.delete_message(7, number)
    assert api.texts() == []
    for method in (bot.edit_message_text("three", chat_id=7, message_id=number), bot.delete_message(7, number)):
        with pytest.raises(TelegramBadRequest, match=r"message to (edit|delete) not found"):
            await method
    assert await bot.delete_message(7, asked)
    assert api.messages(7) == []


async def test_documents(api: BotApi, bot: Bot) -> None:
    api.say("Hi")
    code = BufferedInputFile("print('ё')\n".encode(), "answer.py")
    sent = await bot.send_document(
        7, code, caption="The code", caption_entities=[MessageEntity(type="italic", offset=0, length=3)]
    )
    assert sent.document is not None
    assert (sent.document.file_name, sent.caption) == ("answer.py", "The code")
    assert api.answers()[0].document == ("answer.py", "print('ё')\n".encode())
    with pytest.raises(TelegramBadRequest, match="caption is too long"):
        await bot.send_document(7, code, caption="x" * 1025)
    with pytest.raises(TelegramBadRequest, match="can't parse entities"):
        await bot.send_document(7, code, caption="x", caption_entities=[MessageEntity(type="bold", offset=1, length=1)])
    with pytest.raises(TelegramBadRequest, match="file must be non-empty"):
        await bot.send_document(7, BufferedInputFile(b"", "empty.txt"))
    with pytest.raises(TelegramBadRequest, match="there is no text in the message to edit"):
        await bot.edit_message_text("text", chat_id=7, message_id=sent.message_id)


async def test_buttons(api: BotApi, bot: Bot) -> None:
    anna = api.person(7)
    anna.says("Hi")
    with pytest.raises(TelegramBadRequest, match="BUTTON_DATA_INVALID"):
        await bot.send_message(7, "Stop?", reply_markup=keyboard("ы" * 33))
    await bot.send_message(7, "Stop?", reply_markup=keyboard("ы" * 32))
    query = anna.presses("Stop")
    update = (await bot.get_updates(offset=-1))[0]
    assert update.callback_query is not None
    assert (update.callback_query.data, update.callback_query.from_user.id) == ("ы" * 32, 7)
    assert update.callback_query.message is not None
    assert api.callbacks[query].answer is None
    await update.callback_query.answer("Stopped").as_(bot)
    assert api.callbacks[query].answer == "Stopped"
    with pytest.raises(TelegramBadRequest, match="query is too old"):
        await bot.answer_callback_query(query)
    with pytest.raises(AssertionError, match="no button"):
        anna.presses("Retry")


async def test_actions(api: BotApi, bot: Bot) -> None:
    api.say("Hi")
    await bot.send_chat_action(7, "typing")
    assert [action[1:] for action in api.record.actions] == [(7, None, "typing")]
    with pytest.raises(TelegramBadRequest, match="wrong parameter action"):
        await bot.send_chat_action(7, "thinking")


async def test_topics_and_threads(api: BotApi, bot: Bot) -> None:
    anna = api.person(7)
    forum = api.group(-100, [anna], forum=True)
    topic = forum.topic("Python")
    asked = anna.says("Hi", forum, thread_id=topic)
    answer = await bot.send_message(-100, "In the topic", message_thread_id=topic)
    assert (answer.message_thread_id, answer.is_topic_message) == (topic, True)
    assert (
        await bot.send_message(-100, "By reply", reply_parameters=ReplyParameters(message_id=asked))
    ).message_thread_id == topic
    assert (await bot.send_message(-100, "General")).message_thread_id is None
    assert [message.text for message in api.messages(-100, topic) if message.from_bot] == ["In the topic", "By reply"]
    forum.deletes_topic(topic)
    with pytest.raises(TelegramBadRequest, match="message thread not found"):
        await bot.send_message(-100, "Gone", message_thread_id=topic)

    own = anna.topic("Cooking")
    assert (await bot.send_message(7, "Soup", message_thread_id=own)).is_topic_message
    await bot.send_chat_action(7, "typing", message_thread_id=own)
    with pytest.raises(TelegramBadRequest, match="message thread not found"):
        await bot.send_chat_action(7, "typing", message_thread_id=own + 50)

    # replies in plain supergroups have a thread number which is no topic
    plain = api.group(-200, [anna])
    number = anna.says("Reply", plain, reply_to=anna.says("First", plain))
    update = (await bot.get_updates(offset=-1))[0]
    assert update.message is not None
    assert (update.message.message_id, update.message.is_topic_message) == (number, None)
    assert update.message.message_thread_id == number - 1
    with pytest.raises(TelegramBadRequest, match="message thread not found"):
        await bot.send_message(-200, "Answer", message_thread_id=update.message.message_thread_id)


async def test_numbers_of_messages(api: BotApi, bot: Bot) -> None:
    anna, boris = api.person(7), api.person(8, name="Boris")
    assert (anna.says("1"), boris.says("2")) == (1, 2)
    team = api.group(-100, [anna])
    assert anna.says("first of its supergroup", team) == 1
    assert (await bot.send_message(7, "3")).message_id == 3


async def test_chats_that_are_closed(api: BotApi, bot: Bot) -> None:
    anna = api.person(7)
    anna.says("Hi")
    anna.blocks()
    with pytest.raises(TelegramForbiddenError, match="Forbidden: bot was blocked by the user"):
        await bot.send_message(7, "Hi")
    anna.unblocks()
    await bot.send_message(7, "Hi")
    team = api.group(-100, [anna], kind="group")
    new = team.upgrades(-1001)
    with pytest.raises(TelegramMigrateToChat) as error:
        await bot.send_message(-100, "Hi")
    assert error.value.migrate_to_chat_id == -1001
    await bot.send_message(-1001, "Hi")
    anna.says("Hi", new)
    new.kicks_bot()
    with pytest.raises(TelegramForbiddenError, match="bot was kicked from the supergroup chat"):
        await bot.send_message(-1001, "Hi")
    new.adds_bot()
    assert await bot.leave_chat(-1001)
    with pytest.raises(TelegramForbiddenError, match="bot is not a member of the supergroup chat"):
        await bot.send_message(-1001, "Hi")


async def test_tokens_and_methods(api: BotApi, bot: Bot) -> None:
    me = await bot.get_me()
    assert (me.id, me.username, me.has_topics_enabled) == (4242, "test_bot", True)
    with pytest.raises(TelegramUnauthorizedError, match="Unauthorized"):
        await Bot("4242:another", bot.session).get_me()
    session = await bot.session.create_session()
    for path, status in [
        (f"/bot{TOKEN}/GETME", 200), (f"/bot{TOKEN}/sendPhoto", 404), ("/botnonsense/getMe", 404)
    ]:  # fmt: skip
        async with session.get(api.url + path) as response:
            assert (response.status, (await response.json())["ok"]) == (status, status == 200)
    async with session.post(f"{api.url}/bot{TOKEN}/sendMessage", json={"chat_id": 7, "text": "Hi"}) as response:
        assert (await response.json())["description"] == "Bad Request: chat not found"
    api.say("Hi")
    async with session.post(f"{api.url}/bot{TOKEN}/sendMessage", data={"chat_id": "7", "text": "a", "entities": "{"}) as response:
        assert "can't parse entities" in (await response.json())["description"]


async def test_many_calls_at_once(api: BotApi, bot: Bot) -> None:
    for user in range(1, 51):
        api.say("Hi", user=user)
    await asyncio.gather(*(bot.send_message(1 + number % 50, str(number)) for number in range(500)))
    assert sorted(map(int, api.wait_for(500))) == list(range(500))
    assert len({(message.chat_id, message.message_id) for message in api.record.sent}) == 500
