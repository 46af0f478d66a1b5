"""The line to Telegram: what must be asked until it is answered, however long Telegram stays away.

The bot does not end for want of a network: under a supervisor that would be a crash loop, which tells nobody what is wrong.
"""

import asyncio
import logging

from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramNotFound, TelegramUnauthorizedError
from aiogram.methods import TelegramMethod
from aiogram.methods.base import TelegramType

from ai_assistant.bot.health import Pulse
from ai_assistant.bot.trouble import Trouble
from ai_assistant.errors import ConfigurationError

logger = logging.getLogger(__name__)

SPARE_SECONDS = 5
"""For a request that keeps to no time-out of its own."""

BEAT_SECONDS = 10.0
TOKEN_REFUSED = "Telegram refuses AI_ASSISTANT_TELEGRAM_TOKEN; get a new one from @BotFather."  # noqa: S105
BOT_UNKNOWN = "The Bot API does not know this bot: see AI_ASSISTANT_TELEGRAM_TOKEN and AI_ASSISTANT_TELEGRAM_API_URL."


class TelegramLine:
    """One per bot."""

    def __init__(self, bot: Bot, trouble: Trouble, pulse: Pulse) -> None:
        self._bot = bot
        self.trouble = trouble
        self.pulse = pulse

    async def ask(self, method: TelegramMethod[TelegramType], seconds: int) -> TelegramType:
        """The answer; a try takes up to `seconds`. Raises ConfigurationError when the token is refused."""
        while True:
            try:
                async with asyncio.timeout(seconds + SPARE_SECONDS):
                    result = await self._bot(method, request_timeout=seconds)
            except TelegramUnauthorizedError as error:
                raise ConfigurationError(TOKEN_REFUSED) from error
            except TelegramNotFound as error:
                raise ConfigurationError(BOT_UNKNOWN) from error
            except (AiogramError, TimeoutError) as error:
                pause = self.trouble.pause(error)
            except Exception as error:
                logger.exception("%s failed; trying again", method.__api_method__)
                pause = self.trouble.pause(error)
            else:
                self.trouble.over()
                return result
            await self._sleep(pause)

    async def _sleep(self, seconds: float) -> None:
        """A wait is not a hang."""
        while seconds > 0:
            self.pulse.beat()
            await asyncio.sleep(min(seconds, BEAT_SECONDS))
            seconds -= BEAT_SECONDS
        self.pulse.beat()
