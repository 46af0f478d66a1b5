"""/stats, /privacy, /export and /forget_me: what is known of a person, and how to get rid of it."""

import logging
import time
from typing import Any, Protocol

from aiogram import F, Router
from aiogram.exceptions import TelegramBadRequest
from aiogram.filters import Command
from aiogram.types import CallbackQuery, InaccessibleMessage, Message

from ai_assistant.bot.exports import Exports
from ai_assistant.bot.gateway_client import CHANNEL
from ai_assistant.bot.preference_pages import keyboard
from ai_assistant.bot.profiles import Profile, Profiles, is_private
from ai_assistant.bot.texts import say
from ai_assistant.bot.user_client import UserClient
from ai_assistant.errors import AssistantError
from ai_assistant.settings import BotSettings

logger = logging.getLogger(__name__)

CONFIRM_SECONDS = 600
"""For the button that deletes everything."""

router = Router(name="my_data")


class Memory(Protocol):
    """Something that keeps what it knows of people in memory, by their Telegram id."""

    def forget(self, person: int, /) -> None: ...


class Memories:
    """All of them."""

    def __init__(self, profiles: Profiles, exports: Exports, *memories: Memory) -> None:
        self._profiles = profiles
        self._exports = exports
        self._memories = memories

    async def forget(self, name: str) -> None:
        await self._exports.cancel(name)
        self._profiles.forget(name)
        for memory in self._memories:
            memory.forget(int(name.removeprefix("tg:")))


@router.message(Command("privacy"))
async def privacy(message: Message, profile: Profile, bot_settings: BotSettings) -> None:
    text = say("privacy", profile.language)
    if bot_settings.telegram_privacy_url:
        text += "\n\n" + say("privacy_more", profile.language, url=bot_settings.telegram_privacy_url)
    await message.answer(text)


@router.message(Command("stats"))
async def stats(message: Message, profile: Profile, users: UserClient) -> None:
    """The chat's own numbers; admins get the whole service's in private."""
    try:
        own = await users.stats(profile.owner)
        every = await users.all_stats() if profile.is_admin and is_private(message) else None
    except AssistantError:
        await message.answer(say("unavailable", profile.language))
        return
    text = say("stats", profile.language, **numbers(own)) if own else say("no_stats", profile.language)
    if every is not None:
        text += "\n\n" + say("stats_all", profile.language, **numbers_of_all(every))
    await message.answer(text)


@router.message(Command("export"))
async def export(message: Message, profile: Profile, exports: Exports) -> None:
    if not is_private(message):
        await message.answer(say("only_in_private", profile.language))
    elif exports.start(profile.person, message.chat.id, profile.language):
        await message.answer(say("export_started", profile.language))
    else:
        await message.answer(say("export_running", profile.language))


@router.message(Command("forget_me"))
async def forget_me(message: Message, profile: Profile) -> None:
    if not is_private(message):
        await message.answer(say("only_in_private", profile.language))
        return
    until = int(time.time()) + CONFIRM_SECONDS
    buttons = [
        [(say("button_forget", profile.language), f"forget:yes:{until}")],
        [(say("button_keep", profile.language), "forget:no")],
    ]
    await message.answer(say("forget_question", profile.language), reply_markup=keyboard(buttons))


@router.callback_query(F.data.startswith("forget:"))
async def decide(callback: CallbackQuery, profile: Profile, users: UserClient, memories: Memories) -> None:
    message = callback.message
    if message is None or isinstance(message, InaccessibleMessage) or not is_private(message):
        await callback.answer(say("stale_button", profile.language))
        return
    if callback.data == "forget:no":
        await callback.answer()
        await replace(message, say("forget_kept", profile.language))
        return
    if not is_in_time(callback.data or "", time.time()):
        await callback.answer()
        await replace(message, say("forget_expired", profile.language))
        return
    await callback.answer(say("forgetting", profile.language))
    try:
        await users.forget(profile.person)
    except AssistantError:
        await message.answer(say("unavailable", profile.language))
        return
    await memories.forget(profile.person)
    await replace(message, say("forgotten", profile.language))


def is_in_time(data: str, now: float) -> bool:
    until = data.removeprefix("forget:yes:")
    return until.isascii() and until.isdigit() and now <= int(until) <= now + CONFIRM_SECONDS


async def replace(message: Message, text: str) -> None:
    """The question with its buttons goes."""
    try:
        await message.edit_text(text)
    except TelegramBadRequest as error:
        if "not modified" not in error.message:
            await message.answer(text)


def numbers(found: dict[str, Any]) -> dict[str, int]:
    return {name: int(found.get(name) or 0) for name in ("conversations", "messages", "answers", "completion_tokens")}


def numbers_of_all(found: dict[str, Any]) -> dict[str, int]:
    of_channel = (found.get("deliveries") or {}).get(CHANNEL) or {}
    counts = {name: int(found.get(name) or 0) for name in ("people", "active_people", "groups")}
    return counts | {"open": sum(of_channel.values())}
