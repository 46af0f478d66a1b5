"""/start, /help, and what nobody else understands: unknown commands and buttons of another time."""

import logging

from aiogram import Router
from aiogram.filters import Command
from aiogram.types import CallbackQuery, ChatMemberUpdated, Message

from ai_assistant.bot.access import Access, Standing
from ai_assistant.bot.command_names import ADMIN, GROUP, HIDDEN, PRIVATE, argument, command_name
from ai_assistant.bot.profiles import Profile, is_private
from ai_assistant.bot.texts import say
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

router = Router(name="general")
leftovers = Router(name="leftovers")
"""Comes after every other router."""


@router.message(Command("start"))
async def start(message: Message, profile: Profile, access: Access) -> None:
    given = argument(message)
    if given and message.from_user is not None and is_private(message) and access.owner_code is not None:
        # somebody on the list of the settings, who needs no code to get in, becomes the owner
        try:
            if await access.redeem(message.from_user.id, given) is Standing.ADMIN:
                await message.answer(say("owner_welcome", profile.language))
                return
        except AssistantError:
            await message.answer(say("unavailable", profile.language))
            return
    text = say("start", profile.language)
    if profile.is_admin and access.mode == "pairing":
        text += "\n\n" + say("start_admin", profile.language)
    await message.answer(text)


@router.message(Command("help"))
async def help_(message: Message, profile: Profile) -> None:
    text = say("help" if is_private(message) else "help_group", profile.language)
    if profile.is_admin:
        text += "\n\n" + say("help_admin", profile.language)
    await message.answer(text)


def is_unknown_command(message: Message, profile: Profile) -> bool:
    name = command_name(message)
    known = {*PRIVATE, *GROUP, *HIDDEN, *(ADMIN if profile.is_admin else ())}
    return name is not None and name not in known


@router.message(is_unknown_command)
async def unknown(message: Message, profile: Profile) -> None:
    """In a group it may have been meant for another bot."""
    if is_private(message):
        await message.answer(say("no_such_command", profile.language))


@leftovers.callback_query()
async def stale(callback: CallbackQuery, profile: Profile) -> None:
    await callback.answer(say("stale_button", profile.language))


@leftovers.my_chat_member()
async def noted(_: ChatMemberUpdated) -> None:
    """The door (access_gate) has seen it. Without a handler Telegram would not be asked for updates of this kind."""
