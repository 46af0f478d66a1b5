"""People who write to the bot's chat handlers: a Telegram and a gateway on loopback, and the dispatcher between them."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from aiogram import Bot, Dispatcher
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.types import Update
from telegram import TOKEN, BotApi, started_bot_api

from ai_assistant.bot.chat import router
from ai_assistant.bot.chats import Chats
from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.message_joining import join_splits
from ai_assistant.bot.profiles import Profile
from ai_assistant.bot.texts import language_from
from chat_gateway import ChatGateway


class Session(AiohttpSession):
    """Closes at once: aiogram gives TLS a quarter of a second, and here is none."""

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class Scene:
    """`run` handles what people have done, as the bot does that reads updates."""

    def __init__(self, api: BotApi, gateway: ChatGateway, bot: Bot) -> None:
        self.api = api
        self.gateway = gateway
        self.bot = bot
        self.followed: list[tuple[str, dict[str, Any]]] = []
        self.tell_seconds = 5.0
        self._clients: list[GatewayClient] = []
        self._offset = 0
        self.restart()

    def restart(self) -> None:
        """A bot that remembers nothing."""
        router._parent_router = None  # each test has a dispatcher of its own
        self._clients.append(GatewayClient(self.gateway.url, None))
        self.chats = Chats(self._clients[-1], self, tell_seconds=self.tell_seconds)
        self.dispatcher = Dispatcher(chats=self.chats)
        self.dispatcher.include_router(router)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()

    def follow(self, task_id: str, target: dict[str, Any], *, assistant: str | None = None) -> None:
        self.followed.append((task_id, target))

    async def updates(self) -> Sequence[Update]:
        """What has come since the last time."""
        updates = await self.bot.get_updates(offset=self._offset)
        if updates:
            self._offset = updates[-1].update_id + 1
        return updates

    async def run(self) -> None:
        await self.handle(await self.updates())

    async def handle(self, updates: Sequence[Update]) -> None:
        for group in join_splits(updates):
            await self.dispatcher.feed_update(self.bot, group.update, parts=group.parts, profile=self.profile(group.update))

    def profile(self, update: Update) -> Profile | None:
        message = update.message or update.edited_message
        if message is None or message.from_user is None:
            return None
        person = f"tg:{message.from_user.id}"
        owner = person if message.chat.type == "private" else f"tg-chat:{message.chat.id}"
        return Profile(person, owner, language_from(message.from_user.language_code), self.gateway.users.get(owner, {}))


@contextlib.asynccontextmanager
async def started_scene(api: BotApi, gateway: ChatGateway) -> AsyncIterator[Scene]:
    session = Session(api=TelegramAPIServer.from_base(api.url))
    bot = Bot(TOKEN, session=session)
    scene = Scene(api, gateway, bot)
    try:
        yield scene
    finally:
        await scene.close()
        await session.close()


@contextlib.contextmanager
def started_doubles() -> Iterator[tuple[BotApi, ChatGateway]]:
    with started_bot_api() as api, ChatGateway().running() as gateway:
        assert isinstance(gateway, ChatGateway)
        yield api, gateway
