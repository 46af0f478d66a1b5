"""`ai-assistant bot`: Telegram by long polling."""

import asyncio
import logging

from aiogram import Bot, Dispatcher
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramNetworkError, TelegramUnauthorizedError
from aiogram.types import User

from ai_assistant.bot.chat import router
from ai_assistant.bot.chats import Chats
from ai_assistant.bot.deliverer import Deliverer
from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.errors import ConfigurationError
from ai_assistant.settings import BotSettings

logger = logging.getLogger(__name__)

LAST_PARTS_SECONDS = 3.0
"""For messages that are on their way when the bot stops."""

RETRIES = (1, 2, 5, 10, 30)


def run(settings: BotSettings) -> None:
    """Poll until SIGTERM. Raises ConfigurationError for a missing or wrong token."""
    asyncio.run(poll(settings))


async def poll(settings: BotSettings) -> None:
    if settings.telegram_token is None:
        raise ConfigurationError("Set AI_ASSISTANT_TELEGRAM_TOKEN to the token that @BotFather gave you.")
    proxy = settings.telegram_proxy.get_secret_value() if settings.telegram_proxy else None
    session = AiohttpSession(api=TelegramAPIServer.from_base(settings.telegram_api_url), proxy=proxy)
    bot = Bot(settings.telegram_token.get_secret_value(), session=session)
    gateway = GatewayClient(settings.gateway_url, settings.gateway_key.get_secret_value() if settings.gateway_key else None)
    chats, deliverer = Chats(gateway), Deliverer(bot, gateway)
    dispatcher = Dispatcher(chats=chats)
    dispatcher.include_router(router)
    try:
        me = await who_am_i(bot)
        logger.info("Polling as @%s", me.username)
        deliverer.start()
        # an update is confirmed to Telegram only after its handler has handed it over
        await dispatcher.start_polling(bot, handle_as_tasks=False, close_bot_session=False)
    finally:
        await deliverer.stop(LAST_PARTS_SECONDS)
        await gateway.close()
        await bot.session.close()


async def who_am_i(bot: Bot) -> User:
    """The bot's own account; waits for the network."""
    for pause in (*RETRIES, None):
        try:
            return await bot.get_me()
        except TelegramUnauthorizedError as error:
            raise ConfigurationError("Telegram refuses AI_ASSISTANT_TELEGRAM_TOKEN; get a new one from @BotFather.") from error
        except TelegramNetworkError as error:
            if pause is None:
                raise ConfigurationError(
                    f"Telegram cannot be reached ({error}); set AI_ASSISTANT_TELEGRAM_PROXY or AI_ASSISTANT_TELEGRAM_API_URL."
                ) from error
            logger.warning("Telegram cannot be reached (%s); trying again in %d s", error, pause)
            await asyncio.sleep(pause)
    raise AssertionError("unreachable")
