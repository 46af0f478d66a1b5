"""Stopping answers: /stop, the native button of a draft, the button under a group's preview.

The gateway stops the computing; what is written by then arrives as the answer, by the ledger. In a group only the person who
asked and the administrators may stop an answer.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from aiogram import Bot, F, Router
from aiogram.enums import ChatMemberStatus, ChatType
from aiogram.exceptions import TelegramAPIError
from aiogram.filters import Command
from aiogram.types import CallbackQuery, Message, MessageGenerationStopped

from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.live import Live
from ai_assistant.bot.preview_client import WaitingAnswer, waiting_answers
from ai_assistant.bot.preview_surface import STOP_PREFIX
from ai_assistant.bot.preview_view import draft_id_of
from ai_assistant.bot.profiles import Profile
from ai_assistant.bot.texts import say
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

ADMINISTRATORS = (ChatMemberStatus.CREATOR, ChatMemberStatus.ADMINISTRATOR)

router = Router(name="stop")


@router.message(Command("stop"))
async def stop_command(message: Message, bot: Bot, gateway: GatewayClient, live: Live, profile: Profile) -> None:
    """Everything that is unfinished in this chat and topic, as far as the writer may stop it."""
    thread_id = message.message_thread_id if message.is_topic_message else None
    try:
        answers = [answer for answer in await waiting_answers(gateway, message.chat.id) if answer.thread_id == thread_id]
        theirs = answers
        if message.chat.type != ChatType.PRIVATE and not await is_administrator(bot, message, profile):
            theirs = [answer for answer in answers if answer.author == profile.person]
        await stop_answers(gateway, live, theirs)
    except AssistantError as error:
        logger.warning("Answers could not be stopped (%s)", error.message)
        key = "stop_failed"
    else:
        key = "stopped" if theirs else "not_yours_to_stop" if answers else "nothing_to_stop"
    await message.answer(say(key, profile.language))


@router.stopped_message_generation()
async def stop_draft(
    event: MessageGenerationStopped, bot: Bot, gateway: GatewayClient, live: Live, profile: Profile | None = None
) -> None:
    """Telegram shows that it was stopped; the bot has to do it. (Who pressed is not told: in a private chat there is one.)"""
    language = profile.language if profile is not None else None
    try:
        answers = [item for item in await waiting_answers(gateway, event.chat.id) if draft_id_of(item.task_id) == event.draft_id]
        await stop_answers(gateway, live, answers)
    except AssistantError as error:
        logger.warning("An answer could not be stopped (%s)", error.message)
        await bot.send_message(event.chat.id, say("stop_failed", language), message_thread_id=event.message_thread_id)


@router.callback_query(F.data.startswith(STOP_PREFIX))
async def stop_button(query: CallbackQuery, bot: Bot, gateway: GatewayClient, live: Live, profile: Profile) -> None:
    """The answer under whose beginning the button is."""
    key = "stop_failed"
    try:
        key = await press(query, bot, gateway, live, profile)
    except AssistantError as error:
        logger.warning("An answer could not be stopped (%s)", error.message)
    finally:
        with contextlib.suppress(TelegramAPIError):  # too old by now
            await query.answer(say(key, profile.language), show_alert=key == "stop_failed")


async def press(query: CallbackQuery, bot: Bot, gateway: GatewayClient, live: Live, profile: Profile) -> str:
    """The key of what to say. Raises AssistantError if the gateway stays away."""
    message = query.message
    if message is None or query.data is None:
        return "nothing_to_stop"
    task_id = query.data.removeprefix(STOP_PREFIX)
    # a client can send any data: the task has to be one of this chat
    found = [answer for answer in await waiting_answers(gateway, message.chat.id) if answer.task_id == task_id]
    if not found:
        # written by now; a message that no answer has taken over is left from a bot that was killed
        with contextlib.suppress(TelegramAPIError):
            await bot.edit_message_reply_markup(chat_id=message.chat.id, message_id=message.message_id, reply_markup=None)
        return "already_written"
    if not (is_author(found[0], query) or await is_administrator(bot, query, profile)):
        return "not_yours_to_stop"
    await stop_answers(gateway, live, found)
    return "stopped"


def is_author(answer: WaitingAnswer, query: CallbackQuery) -> bool:
    """By the ledger; where it does not know, by the question that the preview replies to."""
    if answer.author is not None:
        return answer.author == f"tg:{query.from_user.id}"
    message = query.message
    if message is not None and message.chat.type == ChatType.PRIVATE:
        return True
    question = message.reply_to_message if isinstance(message, Message) else None
    if question is None or question.from_user is None or question.message_id != answer.target.get("reply_to"):
        return False
    return question.from_user.id == query.from_user.id


async def is_administrator(bot: Bot, event: Message | CallbackQuery, profile: Profile) -> bool:
    """Of the bot, or of the group where it happened."""
    message = event if isinstance(event, Message) else event.message
    if profile.is_admin or message is None or event.from_user is None:
        return profile.is_admin
    if isinstance(event, Message) and event.sender_chat is not None and event.sender_chat.id == event.chat.id:
        return True  # an administrator who writes in the group's name
    try:
        member = await bot.get_chat_member(message.chat.id, event.from_user.id)
    except TelegramAPIError as error:
        logger.info("Telegram does not say who administers a group (%s)", error)
        return False
    return member.status in ADMINISTRATORS


async def stop_answers(gateway: GatewayClient, live: Live, answers: Sequence[WaitingAnswer]) -> None:
    """The last one first: none of them begins because another one has ended. Raises AssistantError."""
    # Drafts end now, not when the gateway says so, and the gateway does not wait for the one that is in the air.
    # (A group's message goes on until the answer takes it over, or "Stopped.".)
    private = [answer for answer in reversed(answers) if answer.target["chat_id"] > 0]
    endings = [asyncio.create_task(live.finish(answer.task_id)) for answer in private]
    try:
        for answer in reversed(answers):
            await gateway.cancel(answer.task_id)
    finally:
        await asyncio.gather(*endings)
