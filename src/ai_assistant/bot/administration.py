"""/allow and /deny: admins decide who talks to the bot."""

import contextlib
import logging
import re
from dataclasses import dataclass

from aiogram import Bot, Router
from aiogram.exceptions import TelegramAPIError
from aiogram.filters import Command
from aiogram.types import Message

from ai_assistant.bot.access import Access
from ai_assistant.bot.access_list import Listed
from ai_assistant.bot.command_names import argument
from ai_assistant.bot.pairing import is_code
from ai_assistant.bot.profiles import Profile, is_private
from ai_assistant.bot.texts import say
from ai_assistant.bot.user_client import UserClient
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

NUMBER = re.compile(r"-?[1-9][0-9]{0,18}")
USERNAME = re.compile(r"@[A-Za-z][A-Za-z0-9_]{3,31}")


def is_admin(_: Message, profile: Profile) -> bool:
    return profile.is_admin


router = Router(name="administration")
router.message.filter(is_admin)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a command is about."""

    name: str
    """In the list: `person:42`, `chat:-100123` or `name:anna`."""
    shown: str
    """To the admin."""
    chat_id: int | None = None
    """Where its answers go, if that is known."""


def subject_of(message: Message) -> Subject | None:
    """A person by number, @name or reply, a group by number or by saying it there; None where nobody is named."""
    given = argument(message)
    if not given:
        replied = message.reply_to_message
        if replied is not None and replied.from_user is not None and not replied.from_user.is_bot:
            return numbered(replied.from_user.id)
        return None if is_private(message) else numbered(message.chat.id)
    if NUMBER.fullmatch(given):
        return numbered(int(given))
    if USERNAME.fullmatch(given):
        return Subject(f"name:{given[1:].lower()}", given)
    return None


def numbered(number: int) -> Subject:
    """Groups have negative numbers."""
    return Subject(f"person:{number}" if number > 0 else f"chat:{number}", str(number), number)


@router.message(Command("allow"))
async def allow(message: Message, bot: Bot, profile: Profile, access: Access) -> None:
    given = argument(message)
    try:
        if given.lower() == "new":
            await message.answer(await invitation(bot, profile, access))
            return
        if is_code(given) and (asker := await access.approve(given)) is not None:
            await message.answer(say("allowed", profile.language, who=asker.id))
            await tell(bot, asker.id, asker.language)
            return
        subject = subject_of(message)
        if subject is None:
            await message.answer(say("no_such_code" if is_code(given) else "allow_help", profile.language))
            return
        if subject.chat_id is not None and access.is_admin(subject.chat_id):
            await message.answer(say("is_admin", profile.language, who=subject.shown))
            return
        await access.listed.put(subject.name, Listed.ALLOWED)
    except AssistantError:
        await message.answer(say("unavailable", profile.language))
        return
    await message.answer(say("allowed", profile.language, who=subject.shown))
    if subject.chat_id is not None and subject.chat_id != message.chat.id and access.mode != "open":
        await tell(bot, subject.chat_id, profile.language)


async def invitation(bot: Bot, profile: Profile, access: Access) -> str:
    """For somebody who has not written yet."""
    code = access.invitations.issue(None)
    username = (await bot.me()).username
    return say("invitation", profile.language, code=code, link=f"https://t.me/{username}?start={code}")


async def tell(bot: Bot, chat_id: int, language: str | None) -> None:
    with contextlib.suppress(TelegramAPIError):  # a bot cannot write to those who have never written to it
        await bot.send_message(chat_id, say("welcome", language))


@router.message(Command("deny"))
async def deny(message: Message, profile: Profile, access: Access, users: UserClient) -> None:
    subject = subject_of(message)
    if subject is None:
        await message.answer(say("deny_help", profile.language))
        return
    if subject.chat_id is not None and access.is_admin(subject.chat_id):
        await message.answer(say("is_admin", profile.language, who=subject.shown))
        return
    try:
        await access.listed.put(subject.name, Listed.DENIED)
    except AssistantError:
        await message.answer(say("unavailable", profile.language))
        return
    stopped = 0
    if subject.chat_id is not None:
        access.forget(subject.chat_id)
        try:
            stopped = await users.stop_answers(subject.chat_id)
        except AssistantError as error:
            logger.warning("Answers to somebody who was kept out could not be stopped (%s)", error.message)
    await message.answer(say("denied_done", profile.language, who=subject.shown, count=stopped))
