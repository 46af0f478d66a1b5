"""Intake: every update is handled once, those of one chat in their order, different chats side by side.

Both ways by which updates come (polling, webhook) confirm an update to Telegram when `take` is done, which is when its
handler has handed it over to the gateway. A handler that fails does not come back: the person is told, the log has the id,
and the update counts as handled, for one that fails each time would block all others behind it.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiogram import Bot, Dispatcher
from aiogram.dispatcher.middlewares.user_context import EventContext, UserContextMiddleware
from aiogram.exceptions import TelegramAPIError
from aiogram.methods import TelegramMethod
from aiogram.types import Update
from aiogram.types.update import UpdateTypeLookupError
from pydantic import ValidationError

from ai_assistant.bot.message_joining import PATIENCE_SECONDS, Group, join_splits
from ai_assistant.bot.texts import say
from ai_assistant.metrics import BotMetrics

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"


@dataclass(eq=False)
class Line:
    """What waits in one chat, in order."""

    waiting: list[Update] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)


class Intake:
    """One per bot. `is_for_us` tells whether a person in a group has spoken to the bot, and so hears of a failure."""

    def __init__(
        self,
        bot: Bot,
        dispatcher: Dispatcher,
        metrics: BotMetrics,
        *,
        is_for_us: Callable[[Update], bool] = lambda _: False,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._bot = bot
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._is_for_us = is_for_us
        self._patience_seconds = patience_seconds
        self._lines: dict[int, Line] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._open: dict[int, asyncio.Future[None]] = {}
        self._old_ids: dict[int, int] = {}
        """Of groups that became supergroups: what is written there waits until all that the group has was moved."""

    def take(self, update: Update) -> asyncio.Future[None]:
        """Done once the update is handled; cancelled if it never will be. Taking what is being handled changes nothing."""
        known = self._open.get(update.update_id)
        if known is not None:
            return known
        handled = self._open[update.update_id] = asyncio.get_running_loop().create_future()
        self._metrics.updates_open.set(len(self._open))
        key = line_of(update)
        if update.message is not None and update.message.migrate_to_chat_id is not None:
            self._old_ids[update.message.migrate_to_chat_id] = key
        key = self._old_ids.get(key, key)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line()
            worker = asyncio.create_task(self._work(key, line))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        line.waiting.append(update)
        line.came.set()
        return handled

    @property
    def is_busy(self) -> bool:
        return bool(self._open)

    def parse(self, raw: dict[str, Any]) -> Update | None:
        """None for what aiogram does not understand: it is given up, so that it does not block what comes after it."""
        try:
            return Update.model_validate(raw, context={"bot": self._bot})
        except ValidationError as error:
            self._metrics.updates_failed.labels(UNKNOWN).inc()
            wrong = ", ".join(".".join(map(str, item["loc"])) for item in error.errors(include_input=False, include_url=False))
            logger.error("Update %s is not understood and given up (%s)", raw.get("update_id"), wrong[:500])
            return None

    async def stop(self, seconds: float) -> None:
        """Give what is being handled a moment, and give up the rest: it stays with Telegram."""
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=seconds)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._open:
            logger.warning("%d updates were not handled in time; Telegram brings them again", len(self._open))
        for handled in self._open.values():
            handled.cancel()
        self._open.clear()

    async def _work(self, key: int, line: Line) -> None:
        while line.waiting:
            line.came.clear()
            group = join_splits(line.waiting)[0]
            if group.is_open and await self._grows(line):
                continue
            await self._handle(group)
            done = set(group.update_ids)
            line.waiting = [update for update in line.waiting if update.update_id not in done]
            for update_id in done:
                handled = self._open.pop(update_id)
                if not handled.done():
                    handled.set_result(None)
            self._metrics.updates_open.set(len(self._open))
        del self._lines[key]

    async def _grows(self, line: Line) -> bool:
        """Whether something came within the time that the rest of a long message may take."""
        try:
            async with asyncio.timeout(self._patience_seconds):
                await line.came.wait()
        except TimeoutError:
            return False
        return True

    async def _handle(self, group: Group) -> None:
        update = group.update
        kind = kind_of(update)
        if kind == UNKNOWN:
            logger.info("Update %d is of a kind that is not known here; it is passed over", update.update_id)
            return
        try:
            response = await self._dispatcher.feed_update(self._bot, update, parts=group.parts)
            if isinstance(response, TelegramMethod):
                await self._bot(response)
        except TelegramAPIError as error:
            # the answer to a command that the person blocked us after, or that Telegram would not take
            logger.warning("Update %d: Telegram refused what its handler asked (%s)", update.update_id, type(error).__name__)
            self._metrics.updates_failed.labels(kind).inc()
        except Exception:
            logger.exception("Update %d (%s) failed and is given up", update.update_id, kind)
            self._metrics.updates_failed.labels(kind).inc()
            await self._tell(update)
        else:
            self._metrics.updates.labels(kind).inc()

    async def _tell(self, update: Update) -> None:
        """One sentence instead of silence."""
        place = place_of(update)
        language = place.user.language_code if place.user else None
        try:
            if update.callback_query is not None:
                await update.callback_query.answer(say("mishap", language))
            elif place.chat is not None and (place.chat.type == "private" or self._is_for_us(update)):
                await self._bot.send_message(place.chat.id, say("mishap", language), message_thread_id=place.thread_id)
        except TelegramAPIError as error:
            logger.warning("Nobody could be told that update %d failed (%s)", update.update_id, error.message)


def place_of(update: Update) -> EventContext:
    return UserContextMiddleware.resolve_event_context(update)


def line_of(update: Update) -> int:
    """The chat; without one, the person."""
    place = place_of(update)
    return place.chat_id or place.user_id or 0


def kind_of(update: Update) -> str:
    """Telegram's name for the kind of update: a label of metrics."""
    try:
        return update.event_type
    except UpdateTypeLookupError:
        return UNKNOWN
