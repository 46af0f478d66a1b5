"""Patience: what a message needs of the gateway is asked for until it is answered, and the person is told once of a delay.

The update stays unconfirmed meanwhile, so nothing is lost even if the bot is killed while it waits.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ai_assistant.bot.gateway_client import GatewayRefusalError
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

TELL_SECONDS = 5.0
"""A delay that people notice."""

PAUSES = (1.0, 2.0, 5.0, 10.0)
"""Seconds between attempts, each of which has retries of its own; the last one repeats."""

T = TypeVar("T")


async def insist(
    ask: Callable[[], Awaitable[T]], tell: Callable[[], Awaitable[object]], *, tell_seconds: float = TELL_SECONDS
) -> T:
    """What `ask` returns, however long it takes. Raises GatewayRefusalError: repeating a refused request does not help."""
    asking = asyncio.ensure_future(until_answered(ask))
    try:
        done, _ = await asyncio.wait({asking}, timeout=tell_seconds)
        if not done:
            await asyncio.gather(asking, quietly(tell))
        return await asking
    finally:
        asking.cancel()


async def until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    attempt = 0
    while True:
        try:
            return await ask()
        except GatewayRefusalError:
            raise
        except AssistantError as error:
            pause = PAUSES[min(attempt, len(PAUSES) - 1)]
            logger.warning("The gateway is away (%s); a message waits for it, next attempt in %.0f s", error.message, pause)
            attempt += 1
            await asyncio.sleep(pause)


async def quietly(tell: Callable[[], Awaitable[object]]) -> None:
    """Telegram may be away as well: that must not end the waiting."""
    try:
        await tell()
    except Exception as error:
        logger.info("Nobody could be told that the gateway is away (%s)", error or type(error).__name__)
