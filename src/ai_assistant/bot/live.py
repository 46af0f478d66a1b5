"""Live answers: each is shown in its chat while it is written, one after the other in a topic.

Best effort: whatever happens here, the answer itself comes by the gateway's ledger. A restarted bot goes on with what the
ledger says is being written (`resume`).
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from aiogram import Bot

from ai_assistant.bot.formatting.preview import preview as render
from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.pacing import Pacer
from ai_assistant.bot.preview_client import waiting_answers
from ai_assistant.bot.preview_painting import Painting, Room
from ai_assistant.bot.preview_reader import Reader
from ai_assistant.bot.preview_readiness import Readiness
from ai_assistant.bot.preview_view import Preview
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

TURN_SECONDS = 1.0
"""Between the end of an answer and the first sign of the next one in its topic: its last part would wipe that away."""

RESUME_PAUSE_SECONDS = 5.0
REMEMBERED = 2000
"""Answers that are over: a late `follow` must not show them again."""

IDLE_SECONDS = 60.0


@dataclass(eq=False)
class Followed:
    """An answer that is shown, or waits for its turn."""

    preview: Preview
    over: asyncio.Event
    painting: Painting
    task: asyncio.Task[None] | None = None


class Live:
    """One per bot."""

    def __init__(self, bot: Bot, gateway: GatewayClient, pacer: Pacer) -> None:
        self._bot = bot
        self._gateway = gateway
        self._pacer = pacer
        self._readiness = Readiness(gateway)
        self._followed: dict[str, Followed] = {}
        self._last: dict[tuple[int, int | None], Followed] = {}
        """Per topic: whom the next one waits for."""
        self._rooms: dict[int, Room] = {}
        self._over: OrderedDict[str, int | None] = OrderedDict()
        """Task ids, with the messages that showed them."""
        self._resuming: asyncio.Task[None] | None = None
        self._is_stopping = False

    def follow(
        self, task_id: str, target: dict[str, Any], *, assistant: str | None = None, preview_message_id: int | None = None
    ) -> None:
        """Show an answer to a delivery's `target` while it is written. Twice is the same as once; never raises."""
        if task_id in self._followed or task_id in self._over or self._is_stopping:
            return
        try:
            followed = self._begin(Preview.of(task_id, target, assistant), preview_message_id)
        except Exception:
            logger.exception("An answer is not shown while it is written", extra={"task_id": task_id})
            return
        topic = (followed.preview.chat_id, followed.preview.thread_id)
        before = self._last.get(topic)
        self._followed[task_id] = self._last[topic] = followed
        followed.task = asyncio.create_task(self._show(followed, before.over if before is not None else None))
        # (a task that is cancelled before it begins runs no `finally`)
        followed.task.add_done_callback(lambda _: self._end(followed))

    async def finish(self, task_id: str) -> int | None:
        """End the preview of an answer. After this no call of its goes out any more, and none is on its way.

        Returns the message that shows the answer, if one does: the first part can be made by editing it.
        """
        followed = self._followed.get(task_id)
        if followed is None:
            self._remember(task_id, self._over.get(task_id))
            return self._over[task_id]
        if followed.task is not None and not followed.task.cancelling():
            followed.task.cancel()
        await followed.over.wait()
        return followed.painting.message_id

    def resume(self) -> asyncio.Task[None]:
        """Follow what the ledger says is being written, as soon as the gateway can be asked. Awaiting it is not needed."""
        self._resuming = self._resuming or asyncio.create_task(self._resume())
        return self._resuming

    async def stop(self) -> None:
        """End all previews; the answers come by the ledger."""
        self._is_stopping = True
        tasks = [followed.task for followed in self._followed.values() if followed.task is not None]
        if self._resuming is not None:
            tasks.append(self._resuming)
        for task in tasks:
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, preview: Preview, message_id: int | None) -> Followed:
        room = self._rooms.setdefault(preview.chat_id, Room())
        reader = Reader(self._gateway, self._readiness, preview.task_id, preview.assistant)
        painting = Painting(
            preview,
            room,
            reader,
            bot=self._bot,
            gateway=self._gateway,
            pacer=self._pacer,
            render=render,
            message_id=message_id,
        )
        return Followed(preview, asyncio.Event(), painting)

    async def _show(self, followed: Followed, before: asyncio.Event | None) -> None:
        begin_at = 0.0
        try:
            if before is not None:
                await before.wait()
                begin_at = asyncio.get_running_loop().time() + TURN_SECONDS
            await followed.painting.run(begin_at)
        except Exception:
            logger.exception("An answer is not shown any more", extra={"task_id": followed.preview.task_id})

    def _end(self, followed: Followed) -> None:
        preview = followed.preview
        del self._followed[preview.task_id]
        if self._last.get((preview.chat_id, preview.thread_id)) is followed:
            del self._last[preview.chat_id, preview.thread_id]
        self._remember(preview.task_id, followed.painting.message_id)
        followed.over.set()
        self._forget_room(preview.chat_id)

    def _remember(self, task_id: str, message_id: int | None) -> None:
        self._over[task_id] = message_id
        while len(self._over) > REMEMBERED:
            self._over.popitem(last=False)

    def _forget_room(self, chat_id: int) -> None:
        """Once its past does not matter: the chat's edits of the last minute count for the next answer too."""
        room, loop = self._rooms.get(chat_id), asyncio.get_running_loop()
        if room is None or any(followed.preview.chat_id == chat_id for followed in self._followed.values()):
            return
        if room.pace.is_idle(loop.time()):
            del self._rooms[chat_id]
        else:
            loop.call_later(IDLE_SECONDS, self._forget_room, chat_id)

    async def _resume(self) -> None:
        while True:
            try:
                answers = await waiting_answers(self._gateway)
                break
            except AssistantError as error:
                logger.warning("The gateway does not say which answers are being written (%s)", error.message)
            except Exception:
                logger.exception("Answers that are being written are not shown")
                return
            await asyncio.sleep(RESUME_PAUSE_SECONDS)
        for answer in answers:
            self.follow(answer.task_id, answer.target, assistant=answer.assistant, preview_message_id=answer.preview_message_id)
        if answers:
            logger.info("Showing %d answers that were being written already", len(answers))
