"""Metering of requests to Telegram: around the pacer, and between it and Telegram."""

from aiogram import Bot
from aiogram.client.session.base import BaseSession
from aiogram.client.session.middlewares.base import NextRequestMiddlewareType
from aiogram.exceptions import TelegramAPIError
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType

from ai_assistant.bot.pacing import Pacer, PreviewSkipped, flood_of
from ai_assistant.metrics import BotMetrics


def install_pacer(session: BaseSession, pacer: Pacer, metrics: BotMetrics) -> None:
    """Put the pacer into the session, and count what it holds back and what Telegram refuses all the same."""

    async def count_skipped(
        make_request: NextRequestMiddlewareType[TelegramType], bot: Bot, method: TelegramMethod[TelegramType]
    ) -> Response[TelegramType]:
        try:
            return await make_request(bot, method)
        except PreviewSkipped:
            metrics.previews_skipped.inc()
            raise

    async def count_floods(
        make_request: NextRequestMiddlewareType[TelegramType], bot: Bot, method: TelegramMethod[TelegramType]
    ) -> Response[TelegramType]:
        try:
            return await make_request(bot, method)
        except TelegramAPIError as error:
            if flood_of(error) is not None:
                metrics.floods.labels(method.__api_method__).inc()
            raise

    for middleware in (count_skipped, pacer, count_floods):
        session.middleware(middleware)
