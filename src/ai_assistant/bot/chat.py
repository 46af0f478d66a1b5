"""Chatting in Telegram: handlers hand messages over to the gateway; answers are awaited and sent beside them.

A private chat is one conversation until /new. Its id is kept in the user's settings at the gateway, so a restart of the bot
forgets nothing.
"""

import asyncio
import contextlib
import logging

from aiogram import Bot, F, Router
from aiogram.enums import ChatAction
from aiogram.exceptions import TelegramAPIError
from aiogram.filters import Command, CommandStart
from aiogram.types import Message, Update

from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.texts import say, split_text
from ai_assistant.errors import AssistantError, InvalidRequestError

logger = logging.getLogger(__name__)

TYPING_SECONDS = 4.0
"""Telegram shows the typing action for five seconds."""


class Chats:
    """Who is being answered right now."""

    def __init__(self, gateway: GatewayClient) -> None:
        self.gateway = gateway
        self.running: dict[int, str] = {}
        """Task id per chat."""
        self._answers: set[asyncio.Task[None]] = set()

    def answer_later(self, bot: Bot, message: Message, task_id: str) -> None:
        self.running[message.chat.id] = task_id
        answer = asyncio.create_task(self._answer(bot, message, task_id))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    async def _answer(self, bot: Bot, message: Message, task_id: str) -> None:
        typing = asyncio.create_task(self._type(bot, message.chat.id))
        try:
            status = await self.gateway.wait(task_id)
            text = status["text"].strip()
            if status["status"] == "failed" and not text:
                text = say("failed", language_of(message), message=status["error"]["message"])
        except AssistantError:
            text = say("unavailable", language_of(message))
        finally:
            typing.cancel()
            if self.running.get(message.chat.id) == task_id:
                del self.running[message.chat.id]
        for part in split_text(text) or [say("empty", language_of(message))]:
            try:
                await bot.send_message(message.chat.id, part)
            except TelegramAPIError:
                logger.exception("The answer could not be sent", extra={"task_id": task_id})
                return

    async def _type(self, bot: Bot, chat_id: int) -> None:
        while True:
            with contextlib.suppress(TelegramAPIError):
                await bot.send_chat_action(chat_id, ChatAction.TYPING)
            await asyncio.sleep(TYPING_SECONDS)

    async def finish(self, seconds: float) -> None:
        """Give the answers under way a moment when the bot stops."""
        if self._answers:
            await asyncio.wait(self._answers, timeout=seconds)


def language_of(message: Message) -> str | None:
    return message.from_user.language_code if message.from_user else None


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
    task_id = chats.running.get(message.chat.id)
    if task_id is not None:
        await chats.gateway.cancel(task_id)
    await message.answer(say("stopped" if task_id else "nothing_to_stop", language_of(message)))


@router.message(F.chat.type == "private", F.text)
async def chat(message: Message, bot: Bot, event_update: Update, chats: Chats) -> None:
    """Hand the message over; the update counts as done when the gateway has accepted it."""
    user, key = user_of(message), f"conversation:{message.chat.id}"
    try:
        conversation_id = (await chats.gateway.settings(user)).get(key)
        idempotency_key = f"tg:{bot.id}:{event_update.update_id}"
        try:
            accepted = await chats.gateway.ask(user, message.text or "", conversation_id, key=idempotency_key)
        except InvalidRequestError:
            if conversation_id is None:
                raise
            # the conversation was deleted elsewhere
            accepted = await chats.gateway.ask(user, message.text or "", None, key=f"{idempotency_key}:new")
        if accepted["conversation_id"] != conversation_id:
            await chats.gateway.remember(user, {key: accepted["conversation_id"]})
    except InvalidRequestError as error:
        await message.answer(say("failed", language_of(message), message=error.message))
        return
    except AssistantError:
        await message.answer(say("unavailable", language_of(message)))
        return
    chats.answer_later(bot, message, accepted["task_id"])


@router.message(F.chat.type == "private")
async def other(message: Message) -> None:
    await message.answer(say("only_text", language_of(message)))
