"""Long polling that confirms an update only when it has been handled.

Telegram forgets every update below the offset of a getUpdates, so the offset stays at the first update that is not done.
While one of them takes its time (its handler waits for the gateway), the others are brought again with what is new; they are
known by their ids and not handled twice. aiogram's own polling confirms before it has handled, or handles one at a time.
"""

import asyncio
import logging
from typing import Any, cast

from aiogram import Bot
from aiogram.exceptions import TelegramAPIError
from aiogram.methods import DeleteWebhook, GetUpdates, GetWebhookInfo

from ai_assistant.bot.intake import Intake
from ai_assistant.bot.telegram_line import TelegramLine

logger = logging.getLogger(__name__)

BATCH = 100
"""Telegram's most, and so the most that is handled at once."""

POLL_SECONDS = 30
SPARE_SECONDS = 15
"""On top of that, before a silent connection is given up."""

LOOK_AGAIN_SECONDS = 0.3
"""How often there is a look for new updates while others are being handled."""

LAST_WORD_SECONDS = 2


class GetRawUpdates(GetUpdates):
    """Updates are read one by one, so that one that is not understood does not spoil the batch."""

    __returning__ = list[dict[str, Any]]


class Polling:
    """One per bot."""

    def __init__(self, bot: Bot, intake: Intake, line: TelegramLine, allowed_updates: list[str]) -> None:
        self._bot = bot
        self._intake = intake
        self._line = line
        self._allowed_updates = allowed_updates
        self._open: dict[int, asyncio.Future[None]] = {}
        """What has been taken and is not confirmed yet, by update id."""
        self._next: int | None = None
        """Above everything that has been taken."""
        self._confirmed: int | None = None
        """The offset that Telegram has been told."""

    async def run(self) -> None:
        """Until cancelled. Raises ConfigurationError when the token is refused."""
        await self._remove_webhook()
        while True:
            self._line.pulse.beat()
            offset = self.offset
            is_busy = bool(self._open)
            taken = await self._fetch(offset, 0 if is_busy else POLL_SECONDS)
            if busy := [handled for handled in self._open.values() if not handled.done()]:
                # it would come again at once: long polling is no pause now
                when = asyncio.ALL_COMPLETED if taken else asyncio.FIRST_COMPLETED
                await asyncio.wait(busy, timeout=LOOK_AGAIN_SECONDS, return_when=when)

    async def drain(self, seconds: float) -> None:
        """Let what was taken come to its end, and tell Telegram what has, so that the next process does not get it again."""
        await self._intake.stop(seconds)
        offset = self.offset
        if offset is None or offset == self._confirmed:
            return
        try:
            # what this brings is left for the next process
            await self._bot(GetRawUpdates(offset=offset, timeout=0, limit=1), request_timeout=LAST_WORD_SECONDS)
        except TelegramAPIError as error:
            logger.warning("Telegram could not be told what has been handled (%s); it brings that again", error.message)

    @property
    def offset(self) -> int | None:
        """The first update that has not been handled."""
        for update_id in sorted(self._open):
            handled = self._open[update_id]
            if not handled.done() or handled.cancelled():
                return update_id
            del self._open[update_id]
        return self._next

    async def _fetch(self, offset: int | None, seconds: int) -> int:
        """Ask once, and take what is new. Returns how much that is."""
        method = GetRawUpdates(offset=offset, timeout=seconds, limit=BATCH, allowed_updates=self._allowed_updates)
        updates = cast(list[dict[str, Any]], await self._line.ask(method, seconds + SPARE_SECONDS))
        self._confirmed = offset
        count = 0
        for raw in updates:
            update_id = int(raw["update_id"])
            if update_id in self._open or (self._next is not None and offset is not None and offset <= update_id < self._next):
                continue
            count += 1
            self._next = max(update_id + 1, self._next or 0)
            update = self._intake.parse(raw)
            if update is not None:
                self._open[update_id] = self._intake.take(update)
        return count

    async def _remove_webhook(self) -> None:
        """One from earlier would refuse all polling."""
        info = await self._line.ask(GetWebhookInfo(), SPARE_SECONDS)
        if info.url:
            await self._line.ask(DeleteWebhook(drop_pending_updates=False), SPARE_SECONDS)
            logger.warning("The webhook from earlier (%s) is removed; %d updates wait", info.url, info.pending_update_count)
