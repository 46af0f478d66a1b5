"""`ai-assistant bot`: puts the parts of the Telegram bot together, and starts and stops them in order."""

import asyncio
import contextlib
import logging
import signal

from aiogram import Bot, Dispatcher
from aiogram.methods import GetMe
from aiogram.utils.token import TokenValidationError
from prometheus_client import CollectorRegistry

from ai_assistant.bot.chat import Chats, router
from ai_assistant.bot.deliverer import Deliverer
from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.health import Pulse, health_app, serve
from ai_assistant.bot.intake import Intake
from ai_assistant.bot.polling import Polling
from ai_assistant.bot.session import ApiSession, api_session
from ai_assistant.bot.telegram_line import TOKEN_REFUSED, TelegramLine
from ai_assistant.bot.trouble import Trouble
from ai_assistant.bot.webhook import Webhook, webhook_secret
from ai_assistant.errors import ConfigurationError
from ai_assistant.metrics import BotMetrics, process_registry
from ai_assistant.settings import BotSettings

logger = logging.getLogger(__name__)

LAST_PARTS_SECONDS = 3.0
"""For messages that are on their way when the bot stops."""

GET_ME_SECONDS = 10


def run(settings: BotSettings) -> None:
    """Chat until SIGTERM. Raises ConfigurationError for what a person has to put right first."""
    asyncio.run(run_until_signal(settings))


async def run_until_signal(settings: BotSettings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    app = BotApp(settings)
    running = asyncio.create_task(app.run())
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((running, stop), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


class BotApp:
    """Everything that one bot consists of. Must be made inside a running event loop."""

    def __init__(self, settings: BotSettings) -> None:
        if settings.telegram_webhook_url:
            webhook_secret(settings)
        session = api_session(settings)
        self._settings = settings
        self._registry = process_registry()
        self._metrics = BotMetrics(self._registry)
        self._bot = make_bot(settings, session)
        self._gateway = GatewayClient(
            settings.gateway_url, settings.gateway_key.get_secret_value() if settings.gateway_key else None
        )
        self._pulse, self._trouble = Pulse(), Trouble()
        self._metrics.trouble.set_function(lambda: float(self._trouble.sentence is not None))
        self._line = TelegramLine(self._bot, self._trouble, self._pulse)
        self._chats, self._deliverer = Chats(self._gateway), Deliverer(self._bot, self._gateway)
        dispatcher = Dispatcher(chats=self._chats)
        dispatcher.include_router(router)
        intake = Intake(self._bot, dispatcher, self._metrics)
        kinds = dispatcher.resolve_used_update_types()
        self._source: Polling | Webhook = (
            Webhook(intake, self._line, kinds, settings)
            if settings.telegram_webhook_url
            else Polling(self._bot, intake, self._line, kinds)
        )

    async def run(self) -> None:
        """Until cancelled; then what is under way gets its time."""
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._bot.session.close)
            stack.push_async_callback(self._gateway.close)
            await self._serve_health(self._registry, stack)
            # a gateway that is away is no reason not to start: handlers tell people
            tasks = [asyncio.create_task(self._gateway.wait_until_usable()), asyncio.create_task(self._chat(stack))]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _chat(self, stack: contextlib.AsyncExitStack) -> None:
        me = await self._line.ask(GetMe(), GET_ME_SECONDS)
        logger.info("Chatting as @%s", me.username)
        self._pulse.is_ready = True
        stack.push_async_callback(self._chats.stop)
        self._deliverer.start()
        stack.push_async_callback(self._deliverer.stop, LAST_PARTS_SECONDS)
        stack.push_async_callback(self._source.drain, self._settings.telegram_drain_seconds)
        await self._source.run()

    async def _serve_health(self, registry: CollectorRegistry, stack: contextlib.AsyncExitStack) -> None:
        port = self._settings.telegram_health_port
        if port is None:
            return
        host, setting = self._settings.telegram_health_host, "AI_ASSISTANT_TELEGRAM_HEALTH_PORT"
        runner = await serve(health_app(self._pulse, registry), host, port, setting)
        stack.push_async_callback(runner.cleanup)


def make_bot(settings: BotSettings, session: ApiSession) -> Bot:
    """Raises ConfigurationError for a missing token, or one that cannot be one."""
    if settings.telegram_token is None:
        raise ConfigurationError("Set AI_ASSISTANT_TELEGRAM_TOKEN to the token that @BotFather gave you.")
    try:
        return Bot(settings.telegram_token.get_secret_value(), session=session)
    except TokenValidationError as error:
        raise ConfigurationError(TOKEN_REFUSED) from error
