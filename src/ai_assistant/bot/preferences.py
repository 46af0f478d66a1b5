"""/settings: language, assistant and persona, of a person or a group. In a group only its admins change them."""

from typing import Any

from aiogram import Bot, F, Router
from aiogram.exceptions import TelegramBadRequest
from aiogram.filters import Command
from aiogram.types import CallbackQuery, Chat, ForceReply, InaccessibleMessage, Message

from ai_assistant.bot import preference_pages as pages
from ai_assistant.bot.command_names import argument
from ai_assistant.bot.profiles import Profile, Profiles, chosen_language, is_private
from ai_assistant.bot.texts import LANGUAGES, TEXTS, say
from ai_assistant.bot.user_client import UserClient
from ai_assistant.errors import AssistantError, InvalidRequestError

MAX_PERSONA = 1000
"""Characters of a persona's own text."""

router = Router(name="preferences")


@router.message(Command("settings"))
async def show(message: Message, bot: Bot, profile: Profile, profiles: Profiles, users: UserClient) -> None:
    """`/settings` shows the choices; `/settings persona TEXT` sets the persona at once."""
    noun, _, value = argument(message).partition(" ")
    if noun.lower() == "persona" and value.strip():
        await set_persona(message, bot, profile, profiles, users, value.strip())
        return
    try:
        found = await users.assistants()
    except AssistantError:
        await message.answer(say("unavailable", profile.language))
        return
    page = pages.home(profile.settings, profile.language, has_choice=len(found) > 1)
    await message.answer(page.text, reply_markup=page.keyboard)


def is_persona_reply(message: Message, bot: Bot) -> bool:
    """Whether it answers our question for an own persona. The question is known by its text, so a restart loses nothing."""
    asked = message.reply_to_message
    is_ours = asked is not None and asked.from_user is not None and asked.from_user.id == bot.id
    return is_ours and asked is not None and asked.text in TEXTS["persona_ask"].values() and bool(message.text)


@router.message(is_persona_reply)
async def take_persona(message: Message, bot: Bot, profile: Profile, profiles: Profiles, users: UserClient) -> None:
    await set_persona(message, bot, profile, profiles, users, (message.text or "").strip())


async def set_persona(message: Message, bot: Bot, profile: Profile, profiles: Profiles, users: UserClient, text: str) -> None:
    if not await may_change(bot, message.chat, message.from_user.id if message.from_user else None, message.sender_chat):
        answer = say("only_group_admins", profile.language)
    elif len(text) > MAX_PERSONA:
        answer = say("persona_too_long", profile.language, limit=MAX_PERSONA, count=len(text))
    else:
        answer = await stored_persona(profile, profiles, users, text)
    await message.answer(answer)


async def stored_persona(profile: Profile, profiles: Profiles, users: UserClient, text: str) -> str:
    """A sentence that says what became of it."""
    try:
        if not pages.takes_persona(profile.settings, await users.assistants()):
            return say("persona_forbidden", profile.language)
        await profiles.remember(profile.owner, {"persona": text})
    except InvalidRequestError as error:
        return say("failed", profile.language, message=error.message)
    except AssistantError:
        return say("unavailable", profile.language)
    return say("persona_set", profile.language)


@router.callback_query(F.data.startswith("pref:"))
async def press(callback: CallbackQuery, bot: Bot, profile: Profile, profiles: Profiles, users: UserClient) -> None:
    message = callback.message
    if message is None or isinstance(message, InaccessibleMessage):
        await callback.answer(say("stale_button", profile.language))
        return
    if not await may_change(bot, message.chat, callback.from_user.id, None):
        await callback.answer(say("only_group_admins", profile.language), show_alert=True)
        return
    _, noun, value = (*(callback.data or "").split(":", 2), "", "")[:3]
    try:
        settings = await profiles.settings(profile.owner)
        found = await users.assistants()
        if noun == "persona" and value != pages.NOTHING and not pages.takes_persona(settings, found):
            await callback.answer(say("persona_forbidden", profile.language), show_alert=True)
            return
        if noun == "persona" and value == "own":
            await callback.answer()
            placeholder = ForceReply(selective=not is_private(message), input_field_placeholder=None)
            await message.answer(say("persona_ask", profile.language), reply_markup=placeholder)
            return
        change = change_of(noun, value, profile.language, found) if value else {}
        if change is None:
            await callback.answer(say("stale_button", profile.language))
            return
        if change:
            settings = await profiles.remember(profile.owner, change)
    except AssistantError:
        await callback.answer(say("unavailable", profile.language), show_alert=True)
        return
    language = chosen_language(settings, callback.from_user.language_code)
    page = page_of("home" if value else noun, settings, language, found)
    await callback.answer(say("saved", language) if change else None)
    if page is not None:
        await redraw(message, page)


def change_of(noun: str, value: str, language: str, found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The settings that a press of a button changes; None for a button that no longer means anything."""
    if value == pages.NOTHING and noun in ("language", "assistant", "persona"):
        return {noun: None}
    if noun == "language" and value in LANGUAGES:
        return {noun: value}
    if noun == "persona" and value in pages.PERSONAS:
        return {noun: say(f"instructions_{value}", language)}
    if noun == "assistant":
        return next(({noun: item["name"]} for item in found if pages.digest(item["name"]) == value), None)
    return None


def page_of(noun: str, settings: dict[str, Any], language: str, found: list[dict[str, Any]]) -> pages.Page | None:
    if noun == "home":
        return pages.home(settings, language, has_choice=len(found) > 1)
    if noun == "language":
        return pages.languages(settings, language)
    if noun == "assistant":
        return pages.assistants(settings, language, found)
    return pages.personas(settings, language) if noun == "persona" else None


async def redraw(message: Message, page: pages.Page) -> None:
    try:
        await message.edit_text(page.text, reply_markup=page.keyboard)
    except TelegramBadRequest as error:
        if "not modified" not in error.message:  # pressed twice
            raise


async def may_change(bot: Bot, chat: Chat, person: int | None, sender_chat: Chat | None) -> bool:
    if chat.type == "private":
        return True
    if sender_chat is not None:
        return sender_chat.id == chat.id  # an admin who writes as the group
    if person is None:
        return False
    return (await bot.get_chat_member(chat.id, person)).status in ("creator", "administrator")
