"""A bot's dispatcher with everything about commands and access in it, a Telegram, a gateway, and a clock of the test's own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiogram import Bot, Dispatcher, Router
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.types import CallbackQuery, Message, MessageGenerationStopped, Update, User
from bot_gateway import BotGateway
from telegram import TOKEN, BotApi

from ai_assistant.bot import gateway_client, general
from ai_assistant.bot.commands import Commands, routers
from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.profiles import Profile
from ai_assistant.settings import BotSettings


def concerns(message: Message, me: User) -> bool:
    """As the bot's own rule, in short."""
    text, replied = message.text or "", message.reply_to_message
    return (
        f"@{me.username}" in text
        or text.startswith("/")
        or (replied is not None and replied.from_user is not None and replied.from_user.id == me.id)
    )


class Talk:
    """What people do is done by `api`; `handle` lets the bot have it."""

    def __init__(self, api: BotApi, gateway: BotGateway, bot: Bot, settings: BotSettings) -> None:
        self.api = api
        self.gateway = gateway
        self.bot = bot
        self.now = 1000.0
        self.client = GatewayClient(gateway.url, None)
        self.commands = Commands(bot, settings, self.client, concerns, clock=lambda: self.now)
        self.dispatcher = Dispatcher()
        self.commands.install(self.dispatcher)
        self.dispatcher.include_router(self.chat())
        self.dispatcher.include_router(general.leftovers)
        self.heard: list[tuple[str, Profile]] = []
        """What came through to where people chat, and for whom."""

    def chat(self) -> Router:
        router = Router()

        @router.message()
        @router.edited_message()
        async def listen(message: Message, profile: Profile) -> None:
            self.heard.append((message.text or "", profile))

        @router.callback_query(lambda query: query.data.startswith("stop:"))
        async def press(query: CallbackQuery, profile: Profile) -> None:
            self.heard.append((query.data or "", profile))
            await query.answer("Stopped.")

        @router.stopped_message_generation()
        async def stop(_: MessageGenerationStopped, profile: Profile) -> None:
            self.heard.append(("(stop)", profile))

        return router

    async def handle(self) -> list[str]:
        """Let the bot handle what has happened. Returns the texts of its new messages."""
        before = len(self.api.texts())
        while self.api.updates.pending:
            update: dict[str, Any] = self.api.updates.pending.popleft()
            await self.dispatcher.feed_update(self.bot, Update.model_validate(update, context={"bot": self.bot}))
        return self.api.texts()[before:]

    async def say(self, text: str, user: int = 7, **options: Any) -> list[str]:
        self.api.say(text, user=user, **options)
        return await self.handle()

    async def press(self, button: str, user: int = 7) -> str | None:
        """Returns what the bot answers to the press itself."""
        query = self.api.person(user).presses(button)
        await self.handle()
        return self.api.callbacks[query].answer


@asynccontextmanager
async def talking(api: BotApi, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> AsyncIterator[Talk]:
    """With short waits for a gateway that is away."""
    monkeypatch.setattr(gateway_client, "RETRIES", (0.01,))
    for router in (*routers(), general.leftovers):
        monkeypatch.setattr(router, "_parent_router", None)
    session = AiohttpSession(api=TelegramAPIServer.from_base(api.url), timeout=5)
    bot = Bot(TOKEN, session)
    async with BotGateway().running() as gateway:
        talk = Talk(api, gateway, bot, BotSettings(**settings))
        try:
            yield talk
        finally:
            await talk.commands.stop()
            await talk.client.close()
            # aiogram's own close waits for connections with TLS, of which there are none
            if session._session is not None:
                await session._session.close()
