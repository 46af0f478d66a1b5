"""Chatting in Telegram: handlers hand messages over to the gateway, whose ledger makes sure of the answers (see deliverer).

A private chat is one conversation until /new. Its id is kept in the user's settings at the gateway, so a restart of the bot
forgets nothing.
"""

import asyncio
import contextlib
import logging
from typing import Any

from aiogram import Bot, F, Router
from aiogram.enums import ChatAction
from aiogram.exceptions import TelegramAPIError
from aiogram.filters import Command, CommandStart
from aiogram.types import Message, Update

from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from ai_assistant.bot.texts import say
from ai_assistant.errors import AssistantError, InvalidRequestError

logger = logging.getLogger(__name__)

TYPING_SECONDS = 4.0
"""Telegram shows the typing action for five seconds."""


class Chats:
    """What goes on in the chats while answers are written."""

    def __init__(self, gateway: GatewayClient) -> None:
        self.gateway = gateway
        self._typing: set[asyncio.Task[None]] = set()

    def show_typing(self, bot: Bot, chat_id: int, task_id: str) -> None:
        """Until the task is over. Best effort: the answer itself does not depend on it."""
        typing = asyncio.create_task(self._type_until_final(bot, chat_id, task_id))
        self._typing.add(typing)
        typing.add_done_callback(self._typing.discard)

    async def _type_until_final(self, bot: Bot, chat_id: int, task_id: str) -> None:
        typing = asyncio.create_task(self._type(bot, chat_id))
        try:
            await self.gateway.wait(task_id)
        except AssistantError as error:
            logger.info("Nothing is known of an answer that is being written (%s)", error.message, extra={"task_id": task_id})
        finally:
            typing.cancel()

    async def _type(self, bot: Bot, chat_id: int) -> None:
        while True:
            with contextlib.suppress(TelegramAPIError):
                await bot.send_chat_action(chat_id, ChatAction.TYPING)
            await asyncio.sleep(TYPING_SECONDS)

    async def stop(self) -> None:
        for typing in self._typing:
            typing.cancel()
        await asyncio.gather(*self._typing, return_exceptions=True)


def language_of(message: Message) -> str | None:
    return message.from_user.language_code if message.from_user else None


def target_of(message: Message) -> dict[str, Any]:
    """Where the answer goes."""
    target = {"chat_id": message.chat.id, "language": language_of(message)}
    if message.is_topic_message:
        target["thread_id"] = message.message_thread_id
    return target


def user_of(message: Message) -> str:
    return f"tg:{message.from_user.id if message.from_user else message.chat.id}"


router = Router(name="chat")


@router.message(CommandStart())
@router.message(Command("help"))
async def start(message: Message) -> None:
    await message.answer(say("start", language_of(message)))


@router.message(Command("new"))
async def new(message: Message, chats: Chats) -> None:
    await chats.gateway.remember(user_of(message), {f"conversation:{message.chat.id}": None})
    await message.answer(say("new", language_of(message)))


@router.message(Command("stop"))
async def stop(message: Message, chats: Chats) -> None:
    task_ids = await chats.gateway.unfinished(message.chat.id)
    for task_id in reversed(task_ids):  # the last one first: none of them begins because another one has ended
        await chats.gateway.cancel(task_id)
    await message.answer(say("stopped" if task_ids else "nothing_to_stop", language_of(message)))


@router.message(F.chat.type == "private", F.text)
async def chat(message: Message, bot: Bot, event_update: Update, chats: Chats) -> None:
    """Hand the message over; the update counts as done when the gateway has accepted it."""
    user, setting, text = user_of(message), f"conversation:{message.chat.id}", message.text or ""
    once = f"tg:{bot.id}:{event_update.update_id}"
    target = target_of(message)
    try:
        conversation_id = (await chats.gateway.settings(user)).get(setting)
        try:
            accepted = await chats.gateway.ask(user, text, conversation_id, target=target, key=once)
        except GatewayRefusalError as error:
            if error.reason == "idempotency_mismatch":
                # Handed over before a restart, and the conversation's id was noted after that: the answer is owed already.
                return
            if conversation_id is None or error.reason != "conversation_not_found":
                raise
            # deleted elsewhere
            accepted = await chats.gateway.ask(user, text, None, target=target, key=once)
        if accepted["conversation_id"] != conversation_id:
            await chats.gateway.remember(user, {setting: accepted["conversation_id"]})
    except InvalidRequestError as error:
        await message.answer(say("failed", language_of(message), message=error.message))
        return
    except AssistantError:
        await message.answer(say("unavailable", language_of(message)))
        return
    chats.show_typing(bot, message.chat.id, accepted["task_id"])


@router.message(F.chat.type == "private")
async def other(message: Message) -> None:
    await message.answer(say("only_text", language_of(message)))
