"""What people write: the routes from messages, edits and the commands /new and /retry to Chats.

Handlers may run side by side for different chats; those of one chat come in the order of its messages.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiogram import Bot, F, Router
from aiogram.enums import ContentType
from aiogram.filters import Command
from aiogram.types import Message, ReplyParameters, Update

from ai_assistant.bot.chats import Chats, Turn
from ai_assistant.bot.conversations import Place
from ai_assistant.bot.mentions import Question, command_of, is_for_bot, is_group, question_of
from ai_assistant.bot.message_joining import joined
from ai_assistant.bot.profiles import Profile
from ai_assistant.bot.texts import say

ATTACHMENTS = {
    ContentType.ANIMATION,
    ContentType.AUDIO,
    ContentType.CHECKLIST,
    ContentType.CONTACT,
    ContentType.DICE,
    ContentType.DOCUMENT,
    ContentType.GAME,
    ContentType.INVOICE,
    ContentType.LIVE_PHOTO,
    ContentType.LOCATION,
    ContentType.PAID_MEDIA,
    ContentType.PHOTO,
    ContentType.POLL,
    ContentType.STICKER,
    ContentType.STORY,
    ContentType.VENUE,
    ContentType.VIDEO,
    ContentType.VIDEO_NOTE,
    ContentType.VOICE,
}
"""What people send; anything else without text is Telegram's own news (somebody has joined, a message is pinned)."""

router = Router(name="chat")


async def speaks_to_bot(message: Message, bot: Bot) -> bool:
    """A filter: the rest of a group's talk goes nowhere."""
    return is_for_bot(message, await bot.me())


@router.message(Command("new"))
async def new(message: Message, event_update: Update, bot: Bot, profile: Profile, chats: Chats) -> None:
    """A new conversation in this chat or topic."""
    await chats.forget(turn_of(message, event_update, bot, profile))
    await answer(message)(say("new", profile.language))


@router.message(Command("retry"))
async def retry(message: Message, event_update: Update, bot: Bot, profile: Profile, chats: Chats) -> None:
    """Another answer to the last question."""
    await chats.retry(turn_of(message, event_update, bot, profile))


@router.message(F.migrate_to_chat_id)
async def moved(message: Message, chats: Chats) -> None:
    """A group has become a supergroup: its conversations and settings go with it."""
    assert message.migrate_to_chat_id is not None
    await chats.move(message.chat.id, message.migrate_to_chat_id)


@router.message(F.text | F.caption, speaks_to_bot)
async def chat(
    message: Message,
    event_update: Update,
    bot: Bot,
    profile: Profile,
    chats: Chats,
    parts: Sequence[Update] = (),
) -> None:
    """A question. `parts` are the updates that `message` was joined from."""
    turn = turn_of(message, event_update, bot, profile, question_of(message, await bot.me()), parts)
    if is_bare_command(message):
        await turn.say(say("unknown_command", profile.language))
        return
    if not turn.question.written(with_name=False):
        await turn.say(say("ask_me", profile.language))
        return
    reached = await chats.ask(turn)
    rest = [part for part in parts if part.message is not None and part.message.message_id > reached]
    if rest:
        # the first parts had been handed over without these, before the bot was killed
        update = joined(rest)
        assert update.message is not None
        again = turn_of(update.message, update, bot, profile, question_of(update.message, await bot.me()), rest)
        await chats.ask(again)
    if message.text is None and chats.bursts.is_first(message.chat.id, turn.place.thread_id):
        await turn.say(say("only_caption", profile.language))


@router.edited_message(F.text | F.caption, speaks_to_bot)
async def edited(message: Message, event_update: Update, bot: Bot, profile: Profile, chats: Chats) -> None:
    """The question as it should have been."""
    turn = turn_of(message, event_update, bot, profile, question_of(message, await bot.me()))
    if command_of(message) is None and turn.question.written(with_name=False):
        await chats.ask_again(turn)


@router.message(F.content_type.in_(ATTACHMENTS), speaks_to_bot)
async def other(message: Message, profile: Profile, chats: Chats) -> None:
    """What cannot be read."""
    if chats.bursts.is_first(message.chat.id, Place.of(message).thread_id):
        await answer(message)(say("only_text", profile.language))


def turn_of(
    message: Message,
    update: Update,
    bot: Bot,
    profile: Profile,
    question: Question | None = None,
    parts: Sequence[Update] = (),
) -> Turn:
    """What Chats need to know of a message."""
    last = parts[-1].message if parts else None
    return Turn(
        place=Place.of(message),
        profile=profile,
        question=question or Question(""),
        message_id=message.message_id,
        last_message_id=last.message_id if last is not None else message.message_id,
        key=f"tg:{bot.id}:{update.update_id}",
        say=answer(message),
    )


def answer(message: Message) -> Callable[[str], Awaitable[Any]]:
    """In a group it shows whom it is for."""

    async def say_it(text: str) -> None:
        asked = ReplyParameters(message_id=message.message_id, allow_sending_without_reply=True)
        await message.answer(text, reply_parameters=asked if is_group(message) else None)

    return say_it


def is_bare_command(message: Message) -> bool:
    """Of the bot's commands, all that are known have handlers before this one."""
    return command_of(message) is not None and command_of(message) == (message.text or message.caption or "").strip()
