"""/broadcast: an admin writes to every private chat. Shown first, sent after a press of a button.

The preview is the text itself and carries the buttons, so a restart in between loses nothing, and its message id is the
key by which the same order is never carried out twice.
"""

import logging
from typing import Any

from aiogram import Bot, F, Router
from aiogram.exceptions import TelegramBadRequest
from aiogram.filters import Command
from aiogram.types import CallbackQuery, InaccessibleMessage, Message

from ai_assistant.bot.administration import is_admin
from ai_assistant.bot.command_names import argument
from ai_assistant.bot.preference_pages import keyboard
from ai_assistant.bot.profiles import Profile, is_private
from ai_assistant.bot.texts import say
from ai_assistant.bot.user_client import UserClient
from ai_assistant.errors import AssistantError, InvalidRequestError

logger = logging.getLogger(__name__)

router = Router(name="broadcast")


@router.message(Command("broadcast"), is_admin)
async def preview(message: Message, profile: Profile, users: UserClient) -> None:
    """`/broadcast TEXT`, or `/broadcast` as a reply to a message with the text."""
    replied = message.reply_to_message
    text = argument(message) or (replied.text or replied.caption or "" if replied is not None else "")
    if not is_private(message):
        await message.answer(say("only_in_private", profile.language))
        return
    if not text.strip():
        await message.answer(say("broadcast_help", profile.language))
        return
    try:
        count = reachable(await users.all_stats())
    except InvalidRequestError:
        count = None
    except AssistantError:
        await message.answer(say("unavailable", profile.language))
        return
    known = say("broadcast_count", profile.language, count=count) if count is not None else ""
    await message.answer(say("broadcast_preview", profile.language) + known)
    buttons = [
        [(say("button_broadcast", profile.language), "broadcast:yes")],
        [(say("button_cancel", profile.language), "broadcast:no")],
    ]
    await message.answer(text.strip(), parse_mode=None, reply_markup=keyboard(buttons))


def reachable(stats: dict[str, Any]) -> int | None:
    """How many people the gateway knows: not more than these get it, for some may have blocked the bot."""
    count = stats.get("people")
    return count if isinstance(count, int) else None


@router.callback_query(F.data.startswith("broadcast:"))
async def decide(callback: CallbackQuery, bot: Bot, profile: Profile, users: UserClient) -> None:
    message = callback.message
    if message is None or isinstance(message, InaccessibleMessage) or not message.text or not profile.is_admin:
        await callback.answer(say("stale_button", profile.language))
        return
    if callback.data != "broadcast:yes":
        await callback.answer()
        await close(message, say("broadcast_cancelled", profile.language))
        return
    try:
        made = await users.broadcast(message.text, f"broadcast:{bot.id}:{message.chat.id}:{message.message_id}")
    except AssistantError as error:
        logger.warning("A broadcast was not accepted (%s)", error.message)
        await callback.answer(say("unavailable", profile.language), show_alert=True)
        return
    await callback.answer()
    await close(message, say("broadcast_started", profile.language, count=int(made.get("targets") or 0)))


async def close(message: Message, sentence: str) -> None:
    """Take the buttons away and say what was done."""
    try:
        await message.edit_reply_markup(reply_markup=None)
    except TelegramBadRequest as error:
        if "not modified" not in error.message:
            raise
        return  # pressed twice: it has been said
    await message.answer(sentence)
