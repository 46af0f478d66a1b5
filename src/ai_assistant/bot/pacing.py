"""Every request to Telegram goes through here: its limits are kept, its pauses obeyed, and passing errors are outlived.

Previews are skipped where there is no room. All others wait their turn for a few seconds, and then fail like a request that
Telegram's flood control has refused: with `TelegramRetryAfter`, which says when to come again. Messages are never sent twice:
after an error only requests are repeated that cannot have arrived, or whose repetition changes nothing.
"""

import asyncio
import logging
import math
import random
import re
from dataclasses import dataclass
from typing import Any

from aiogram import Bot
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.exceptions import TelegramAPIError, TelegramNetworkError, TelegramRetryAfter
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType

from ai_assistant.bot.flood_windows import Place, Rates
from ai_assistant.bot.send_errors import is_passing, never_connected
from ai_assistant.bot.turns import PATIENCE_SECONDS, NoTurnError, Turns
from ai_assistant.bot.urgency import Urgency, current, urgency

__all__ = ["Pacer", "PacerCounts", "PreviewSkipped", "Rates", "Urgency", "urgency"]

logger = logging.getLogger(__name__)

UNPACED = frozenset({"getUpdates", "close", "logOut"})
"""The poller's own; it waits and repeats by itself."""

DRAFTS = frozenset({"sendMessageDraft", "sendRichMessageDraft", "sendChatAction"})
"""Previews, whoever sends them. They leave no message behind, so the limits of messages do not count them."""

MESSAGES = ("send", "edit", "copy", "forward")
REPEATABLE = ("get", "set", "edit", "delete", "answerCallbackQuery")
"""Beginnings of names."""

PREVIEW_SECONDS = 5.0
"""A preview that takes longer must not keep the answer waiting."""

PAUSES = (0.5, 1.0, 2.0)
NO_NUMBER_SECONDS = 5
"""For the rare flood control that does not say how long."""


class PreviewSkipped(TelegramAPIError):  # noqa: N818 - nothing is wrong
    """There was no room for this preview; the next one may have more luck."""

    label = "Not sent"


@dataclass
class PacerCounts:
    """Since the start."""

    requests: int = 0
    """That went to Telegram, repetitions included."""
    previews_skipped: int = 0
    postponed: int = 0
    """Not sent, because the chat's limit or pause lasts longer than a request may wait."""
    floods: int = 0
    """Answers with 429."""
    repeated: int = 0
    """After errors of the network or of Telegram's servers."""


class Pacer(BaseRequestMiddleware):
    """One per bot: `bot.session.middleware(pacer)`."""

    def __init__(self, rates: Rates | None = None) -> None:
        self.counts = PacerCounts()
        self.flooded = asyncio.Event()
        """Set by every 429; whoever remembers pauses clears it."""
        self._turns = Turns(rates or Rates())

    def is_held(self, chat_id: Place) -> bool:
        """True while Telegram's flood control forbids requests to this chat."""
        return self._turns.windows.held_until(chat_id) > asyncio.get_running_loop().time()

    def held_chats(self) -> dict[int, float]:
        """Seconds that are left of each pause."""
        now = asyncio.get_running_loop().time()
        held = self._turns.windows.held
        return {place: until - now for place, until in held.items() if isinstance(place, int) and until > now}

    def hold(self, chat_id: Place, seconds: float) -> None:
        """A pause that somebody else knows of."""
        self._turns.hold(chat_id, seconds, is_news=False)

    async def __call__(
        self, make_request: NextRequestMiddlewareType[TelegramType], bot: Bot, method: TelegramMethod[TelegramType]
    ) -> Response[TelegramType]:
        """Raises PreviewSkipped, TelegramRetryAfter (also without a request), and what the request raises."""
        if method.__api_method__ in UNPACED:
            return await make_request(bot, method)
        level = Urgency.PREVIEW if method.__api_method__ in DRAFTS else current.get()
        is_patient = level in (Urgency.REPLY, Urgency.EDIT)
        pauses = list(PAUSES) if is_patient else []
        has_slept = False
        give_up_at = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            await self._take_turn(method, level, give_up_at)
            try:
                return await self._request(make_request, bot, method, level)
            except TelegramRetryAfter:
                if not is_patient:
                    raise
                # the chat is held by now: taking a turn waits for it, or raises at once
                if not has_slept:
                    has_slept, give_up_at = True, asyncio.get_running_loop().time() + PATIENCE_SECONDS
            except Exception as error:
                if not (pauses and is_passing(error) and (is_repeatable(method) or never_connected(error))):
                    raise
                pause = pauses.pop(0) * random.uniform(0.5, 1.5)  # noqa: S311 - spreads requests, hides nothing
                logger.info("%s did not work (%s); again in %.1f s", method.__api_method__, error, pause)
                self.counts.repeated += 1
                await asyncio.sleep(pause)
                give_up_at = asyncio.get_running_loop().time() + PATIENCE_SECONDS

    async def _take_turn(self, method: TelegramMethod[Any], level: Urgency, give_up_at: float) -> None:
        try:
            await self._turns.take(place_of(method), level, is_message=is_message(method), give_up_at=give_up_at)
        except NoTurnError as error:
            if level == Urgency.PREVIEW:
                self.counts.previews_skipped += 1
                raise PreviewSkipped(method, f"no room for {method.__api_method__} now") from error
            self.counts.postponed += 1
            raise TelegramRetryAfter(method, "not sent: the pause is known already", math.ceil(error.seconds)) from error

    async def _request(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
        level: Urgency,
    ) -> Response[TelegramType]:
        place = place_of(method)
        self.counts.requests += 1
        try:
            async with asyncio.timeout(PREVIEW_SECONDS if level == Urgency.PREVIEW else None):
                response = await make_request(bot, method)
        except TimeoutError as error:
            raise TelegramNetworkError(method, "Request timeout error") from error
        except TelegramAPIError as error:
            flood = flood_of(error)
            if flood is not None:
                self._flooded(place, flood)
                raise flood from error.__cause__
            if not is_passing(error):
                self._turns.windows.served()
            raise
        else:
            self._turns.windows.served()
            return response
        finally:
            self._turns.give_back(place)

    def _flooded(self, place: Place, flood: TelegramRetryAfter) -> None:
        self.counts.floods += 1
        self._turns.hold(place, flood.retry_after)
        self.flooded.set()
        kind = "for a chat" if isinstance(place, int) or place.startswith("@") else f"for {place}"
        logger.warning("Telegram wants a pause of %d s %s", flood.retry_after, kind)


def place_of(method: TelegramMethod[Any]) -> Place:
    """The chat, or the method's name where there is none."""
    chat_id = getattr(method, "chat_id", None)
    if isinstance(chat_id, int):
        return chat_id
    if not isinstance(chat_id, str) or not chat_id:
        return method.__api_method__
    return int(chat_id) if re.fullmatch(r"-?\d+", chat_id) else chat_id if chat_id.startswith("@") else f"@{chat_id}"


def is_message(method: TelegramMethod[Any]) -> bool:
    return method.__api_method__.startswith(MESSAGES) and method.__api_method__ not in DRAFTS


def is_repeatable(method: TelegramMethod[Any]) -> bool:
    return method.__api_method__.startswith(REPEATABLE)


def flood_of(error: TelegramAPIError) -> TelegramRetryAfter | None:
    """The error if it is flood control; also where Telegram's answer lacks the field with the seconds."""
    if isinstance(error, TelegramRetryAfter):
        return error
    if type(error) is not TelegramAPIError or "too many requests" not in error.message.lower():
        return None
    number = re.search(r"retry after (\d+)", error.message, re.IGNORECASE)
    return TelegramRetryAfter(error.method, error.message, int(number[1]) if number else NO_NUMBER_SECONDS)
