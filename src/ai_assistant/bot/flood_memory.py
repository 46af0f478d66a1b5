"""Telegram's pauses outlive the bot: they are kept at the gateway, so that a bot which was killed
does not come back and talk into them.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from ai_assistant.bot.pacing import Pacer
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

SETTING = "held"
MOST_CHATS = 300
"""The longest pauses; more would not fit into a user's settings."""

REST_SECONDS = 0.2
"""Between two writings: many chats may be refused at once."""

RESTORE_SECONDS = 3.0
"""A gateway that is away must not keep people from hearing so."""

FORGET_SECONDS = 5.0
"""How long a pause that is over may still be noted: with it goes the number of whoever asks to be forgotten."""


class FloodMemory:
    """One per bot, next to its Pacer. Best effort: Telegram repeats a pause that was forgotten."""

    def __init__(self, pacer: Pacer, gateway: GatewayClient, bot_id: int, clock: Callable[[], float] = time.time) -> None:
        self._pacer = pacer
        self._gateway = gateway
        # a record of its own: who is let in fills the bot's other ones
        self._path = f"/api/users/tg-bot:{bot_id}:held"
        self._clock = clock
        """Seconds since 1970: it has to go on while the bot is away."""
        self._is_noted = False
        """Whether there is anything in the record."""
        self._writing: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        """Hold the chats that an earlier bot has left held. To be awaited before anything is sent."""
        try:
            async with asyncio.timeout(RESTORE_SECONDS):
                settings: dict[str, Any] = (await self._gateway.call("GET", self._path))["settings"]
        except GatewayRefusalError:
            return  # the first start
        except (AssistantError, TimeoutError) as error:
            logger.warning("Telegram's pauses of before the start are not known (%s)", error or type(error).__name__)
            self._is_noted = True  # for all we know
            return
        noted = settings.get(SETTING) or {}
        self._is_noted = bool(noted)
        for chat, until in noted.items():
            if (seconds := until - self._clock()) > 0:
                self._pacer.hold(int(chat), seconds)

    def start(self) -> None:
        self._writing = asyncio.create_task(self._write_always())

    async def stop(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write_always(self) -> None:
        while True:
            await self._wait_for_news()
            longest = sorted(self._pacer.held_chats().items(), key=lambda item: -item[1])[:MOST_CHATS]
            held = {str(chat): round(self._clock() + seconds, 1) for chat, seconds in longest}
            try:
                await self._gateway.call("PATCH", self._path, json={"settings": {SETTING: held or None}})
                self._is_noted = bool(held)
            except AssistantError as error:
                logger.info("Telegram's pauses could not be noted (%s)", error.message)
            await asyncio.sleep(REST_SECONDS)

    async def _wait_for_news(self) -> None:
        """A new pause, or all that is noted may be over."""
        try:
            async with asyncio.timeout(FORGET_SECONDS if self._is_noted else None):
                await self._pacer.flooded.wait()
        except TimeoutError:
            return
        self._pacer.flooded.clear()
