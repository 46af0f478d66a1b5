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


class FloodMemory:
    """One per bot, next to its Pacer. Best effort: Telegram repeats a pause that was forgotten."""

    def __init__(self, pacer: Pacer, gateway: GatewayClient, bot_id: int, clock: Callable[[], float] = time.time) -> None:
        self._pacer = pacer
        self._gateway = gateway
        # a record of its own: who is let in fills the bot's other ones
        self._path = f"/api/users/tg-bot:{bot_id}:held"
        self._clock = clock
        """Seconds since 1970: it has to go on while the bot is away."""
        self._writing: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        """Hold the chats that an earlier bot has left held. To be awaited before anything is sent."""
        try:
            settings: dict[str, Any] = (await self._gateway.call("GET", self._path))["settings"]
        except GatewayRefusalError:
            return  # the first start
        except AssistantError as error:
            logger.warning("Telegram's pauses of before the start are not known (%s)", error.message)
            return
        for chat, until in (settings.get(SETTING) or {}).items():
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
            await self._pacer.flooded.wait()
            self._pacer.flooded.clear()
            longest = sorted(self._pacer.held_chats().items(), key=lambda item: -item[1])[:MOST_CHATS]
            held = {str(chat): round(self._clock() + seconds, 1) for chat, seconds in longest}
            try:
                await self._gateway.call("PATCH", self._path, json={"settings": {SETTING: held}})
            except AssistantError as error:
                logger.info("Telegram's pauses could not be noted (%s)", error.message)
            await asyncio.sleep(REST_SECONDS)
