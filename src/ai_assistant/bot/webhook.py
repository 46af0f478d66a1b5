"""Webhook: Telegram brings the updates. 200 is answered once an update has been handled; without it Telegram comes again."""

import asyncio
import hmac
import json
import logging
import re
from typing import Any
from urllib.parse import urlsplit

from aiogram.methods import GetWebhookInfo, SetWebhook
from aiogram.types import WebhookInfo
from aiohttp import web

from ai_assistant.bot.health import probe_routes, serve
from ai_assistant.bot.intake import Intake
from ai_assistant.bot.telegram_line import TelegramLine
from ai_assistant.errors import ConfigurationError
from ai_assistant.settings import BotSettings

logger = logging.getLogger(__name__)

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105
SECRET_FORM = re.compile(r"[A-Za-z0-9_-]{16,256}")

MAX_BODY = 1024 * 1024
"""An update is some KiB."""

ASK_SECONDS = 15
LOOK_SECONDS = 60.0
"""How often Telegram is asked whether its calls arrive."""


def webhook_secret(settings: BotSettings) -> str:
    """Raises ConfigurationError for a webhook that anybody could call, or that Telegram would not."""
    url = urlsplit(settings.telegram_webhook_url or "")
    # an own Bot API server in local mode calls plain HTTP too
    schemes = ("https",) if "api.telegram.org" in settings.telegram_api_url else ("https", "http")
    if url.scheme not in schemes or not url.hostname or url.query or url.fragment:
        raise ConfigurationError(
            "AI_ASSISTANT_TELEGRAM_WEBHOOK_URL should be a URL that Telegram reaches, such as https://bot.example.org/telegram."
        )
    if (url.path or "/") in ("/livez", "/readyz"):
        raise ConfigurationError(f"AI_ASSISTANT_TELEGRAM_WEBHOOK_URL: {url.path} is taken by a probe; choose another path.")
    secret = settings.telegram_webhook_secret.get_secret_value() if settings.telegram_webhook_secret else ""
    if not SECRET_FORM.fullmatch(secret):
        raise ConfigurationError(
            "AI_ASSISTANT_TELEGRAM_WEBHOOK_SECRET is needed with a webhook: 16 to 256 letters, digits, _ and -. "
            'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    return secret


class Webhook:
    """One per bot."""

    def __init__(self, intake: Intake, line: TelegramLine, allowed_updates: list[str], settings: BotSettings) -> None:
        self._intake = intake
        self._line = line
        self._allowed_updates = allowed_updates
        self._settings = settings
        self._secret = webhook_secret(settings)
        self._url = settings.telegram_webhook_url or ""
        self._said: str | None = None
        self._is_stopping = False
        self._runner: web.AppRunner | None = None

    async def run(self) -> None:
        """Until cancelled. Raises ConfigurationError when the token is refused or nothing can listen."""
        self._runner = await serve(
            self.app(),
            self._settings.telegram_webhook_host,
            self._settings.telegram_webhook_port,
            "AI_ASSISTANT_TELEGRAM_WEBHOOK_PORT",
        )
        # whether Telegram has this secret cannot be asked
        await self._set()
        while True:
            await self._look()
            await asyncio.sleep(LOOK_SECONDS)
            self._line.pulse.beat()

    @property
    def port(self) -> int | None:
        """Where it listens; None before it does."""
        return self._runner.addresses[0][1] if self._runner is not None else None

    async def drain(self, seconds: float) -> None:
        """Let what was taken come to its end and be answered; what comes now is for the next process."""
        self._is_stopping = True
        await self._intake.stop(seconds)
        if self._runner is not None:
            await self._runner.cleanup()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes([*probe_routes(self._line.pulse), web.post(urlsplit(self._url).path or "/", self.take)])
        return app

    async def take(self, request: web.Request) -> web.Response:
        given = request.headers.get(SECRET_HEADER, "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._secret.encode()):
            return web.Response(status=403, text="this is for Telegram only\n")
        if self._is_stopping:
            return web.Response(status=503, text="stopping\n")
        try:
            raw: Any = json.loads(await request.read())
        except ValueError:
            return web.Response(status=400, text="not JSON\n")
        if not isinstance(raw, dict) or not isinstance(raw.get("update_id"), int):
            return web.Response(status=400, text="not an update\n")
        update = self._intake.parse(raw)
        if update is not None:
            handled = self._intake.take(update)
            # the same update may be waited for by a second call
            await asyncio.wait([handled])
            if handled.cancelled():
                return web.Response(status=503, text="stopping\n")
        return web.Response(text="ok\n")

    async def _set(self) -> None:
        method = SetWebhook(
            url=self._url, secret_token=self._secret, allowed_updates=self._allowed_updates, drop_pending_updates=False
        )
        await self._line.ask(method, ASK_SECONDS)
        logger.info("Telegram brings updates to %s", self._url)

    async def _look(self) -> None:
        """Say what Telegram says of its calls, and set the webhook again where somebody has taken it away."""
        info = await self._line.ask(GetWebhookInfo(), ASK_SECONDS)
        if info.url != self._url:
            logger.warning("Another process has changed the webhook to %s; it is set again", info.url or "none")
            await self._set()
        problem = problem_of(info)
        if problem is not None and problem != self._said:
            logger.warning("%s", problem)
        self._said = problem


def problem_of(info: WebhookInfo) -> str | None:
    """Telegram's last failure to bring an update; None when nothing waits since."""
    if not info.last_error_message or not info.pending_update_count:
        return None
    count = info.pending_update_count
    return f"Telegram cannot bring its updates ({info.last_error_message}, at {info.last_error_date}); {count} wait"
