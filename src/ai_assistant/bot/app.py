"""`ai-assistant bot`: puts the parts of the Telegram bot together, and starts and stops them in order."""

import asyncio
import contextlib
import logging
import signal

from aiogram import Bot, Dispatcher
from aiogram.methods import GetMe
from aiogram.types import Update, User
from aiogram.utils.token import TokenValidationError

from ai_assistant.bot import chat, general, stop
from ai_assistant.bot.chats import Chats
from ai_assistant.bot.commands import Commands
from ai_assistant.bot.deliverer import Deliverer
from ai_assistant.bot.flood_memory import FloodMemory
from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.health import Pulse, health_app, serve
from ai_assistant.bot.intake import Intake
from ai_assistant.bot.live import Live
from ai_assistant.bot.mentions import is_for_bot, may_concern_bot
from ai_assistant.bot.metering import install_pacer
from ai_assistant.bot.pacing import Pacer
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
        self._settings = settings
        self._me: User | None = None
        self._registry = process_registry()
        metrics = BotMetrics(self._registry)
        session, pacer = api_session(settings), Pacer()
        install_pacer(session, pacer, metrics)
        self._bot = make_bot(settings, session)
        key = settings.gateway_key.get_secret_value() if settings.gateway_key else None
        self._gateway = GatewayClient(settings.gateway_url, key)
        self._pulse, trouble = Pulse(), Trouble()
        metrics.trouble.set_function(lambda: float(trouble.sentence is not None))
        self._line = TelegramLine(self._bot, trouble, self._pulse)
        self._floods = FloodMemory(pacer, self._gateway, self._bot.id)
        self._live = Live(self._bot, self._gateway, pacer)
        self._deliverer = Deliverer(self._bot, self._gateway, self._live.finish, metrics)
        self._commands = Commands(self._bot, settings, self._gateway, may_concern_bot)
        dispatcher = self._dispatcher()
        intake = Intake(self._bot, dispatcher, metrics, is_for_us=self._is_for_us)
        kinds = dispatcher.resolve_used_update_types()
        self._source: Polling | Webhook = (
            Webhook(intake, self._line, kinds, settings)
            if settings.telegram_webhook_url
            else Polling(self._bot, intake, self._line, kinds)
        )

    def _dispatcher(self) -> Dispatcher:
        """Who is asked in which order: commands first, what is no command is a question."""
        dispatcher = Dispatcher(disable_fsm=True, gateway=self._gateway, live=self._live, chats=Chats(self._gateway, self._live))
        self._commands.install(dispatcher)
        dispatcher.include_routers(stop.router, chat.router, general.leftovers)
        return dispatcher

    async def run(self) -> None:
        """Until cancelled; then what is under way gets its time."""
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._bot.session.close)
            stack.push_async_callback(self._gateway.close)
            await self._serve_health(stack)
            self._me = await self._line.ask(GetMe(), GET_ME_SECONDS)
            logger.info("Chatting as @%s", self._me.username)
            # a gateway that is away is no reason not to start: handlers tell people
            tasks = [asyncio.create_task(self._gateway.wait_until_usable()), asyncio.create_task(self._chat(stack))]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _chat(self, stack: contextlib.AsyncExitStack) -> None:
        """What is started first is stopped last."""
        # nothing is sent before it is known which chats Telegram has closed for a while
        await self._floods.restore()
        self._floods.start()
        stack.push_async_callback(self._floods.stop)
        self._pulse.is_ready = True
        stack.push_async_callback(self._live.stop)
        self._live.resume()
        self._deliverer.start()
        stack.push_async_callback(self._deliverer.stop, LAST_PARTS_SECONDS)
        stack.push_async_callback(self._commands.stop)
        stack.push_async_callback(self._source.drain, self._settings.telegram_drain_seconds)
        starting = asyncio.create_task(self._start_commands())
        try:
            await self._source.run()
        finally:
            starting.cancel()

    async def _start_commands(self) -> None:
        """Beside the chatting: neither the menu nor the log is a reason to keep anybody waiting."""
        try:
            await self._commands.start()
        except Exception:
            logger.exception("The menu of commands is not set")

    def _is_for_us(self, update: Update) -> bool:
        message = update.message or update.edited_message
        return self._me is not None and message is not None and is_for_bot(message, self._me)

    async def _serve_health(self, stack: contextlib.AsyncExitStack) -> None:
        port = self._settings.telegram_health_port
        if port is None:
            return
        host, setting = self._settings.telegram_health_host, "AI_ASSISTANT_TELEGRAM_HEALTH_PORT"
        runner = await serve(health_app(self._pulse, self._registry), host, port, setting)
        stack.push_async_callback(runner.cleanup)


def make_bot(settings: BotSettings, session: ApiSession) -> Bot:
    """Raises ConfigurationError for a missing token, or one that cannot be one."""
    if settings.telegram_token is None:
        raise ConfigurationError("Set AI_ASSISTANT_TELEGRAM_TOKEN to the token that @BotFather gave you.")
    try:
        return Bot(settings.telegram_token.get_secret_value(), session=session)
    except TokenValidationError as error:
        raise ConfigurationError(TOKEN_REFUSED) from error
