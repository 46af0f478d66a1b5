"""Painting one answer while it is written: the newest text, as often as the chat takes it, and never after its end."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from aiogram import Bot

from ai_assistant.bot.formatting.parts import TextPart
from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from ai_assistant.bot.pacing import Pacer, Urgency, urgency
from ai_assistant.bot.preview_client import is_next, note_preview
from ai_assistant.bot.preview_errors import Outcome, Verdict, verdict_of
from ai_assistant.bot.preview_pace import Pace
from ai_assistant.bot.preview_reader import Reader
from ai_assistant.bot.preview_surface import DraftSurface, MessageSurface, Surface
from ai_assistant.bot.preview_view import Preview, View, view_of
from ai_assistant.bot.texts import say
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 22.0
"""Telegram shows a draft for thirty."""

TYPING_SECONDS = 4.5
"""Telegram shows the typing action for five."""

LOOK_SECONDS = 0.2
"""Between two looks whether the chat's pause is over, or room for a preview."""

MOST_LOOKS = 8

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 20.0
NOTE_SECONDS = 2.0
TURN_LOOK_SECONDS = 1.0
"""Between two looks whether the answers before this one have arrived."""

SAFE_CHARS = 2000
"""Fit a message whatever they are."""

NEVER = float("inf")


class Room:
    """What the previews of one chat share."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.lock = asyncio.Lock()
        """One request in the air."""
        self.takes_drafts = True


class Painting:
    """One answer's preview, for as long as it is written. `message_id`: where an earlier bot has begun to show it."""

    def __init__(
        self,
        preview: Preview,
        room: Room,
        reader: Reader,
        *,
        bot: Bot,
        gateway: GatewayClient,
        pacer: Pacer,
        render: Callable[[str], TextPart],
        message_id: int | None = None,
    ) -> None:
        self._preview = preview
        self._room = room
        self._reader = reader
        self._bot = bot
        self._gateway = gateway
        self._pacer = pacer
        self._render = render
        is_draft = room.takes_drafts and not preview.is_group and message_id is None
        self._surface: Surface = DraftSurface(bot, preview) if is_draft else MessageSurface(bot, preview, message_id)
        self._noted = message_id
        self._shown: View | None = None
        self._part: TextPart | None = None
        self._shown_at = self._typed_at = float("-inf")
        self._retry_at = 0.0
        self._failures = self._skips = 0
        self._is_plain = self._is_over = False
        self._extra = {"task_id": preview.task_id}

    @property
    def message_id(self) -> int | None:
        """The message that shows the answer, if one does."""
        return self._surface.message_id

    async def run(self, begin_at: float) -> None:
        """Until the answer is over, or this is cancelled; then a request that is in the air is waited for.

        Nothing but text is shown before `begin_at`, by the loop's clock.
        """
        self._reader.start(with_reasons=self._surface.is_draft)
        try:
            await self._paint(begin_at)
            await self._conclude()
        finally:
            await self._reader.stop()
            await self._note()

    async def _paint(self, begin_at: float) -> None:
        now = asyncio.get_running_loop().time
        known = self._reader.known
        while known.ended is None and not (known.is_lost or self._is_over):
            self._reader.changed.clear()
            view = view_of(known, self._preview.language)
            due = self._due(view, now(), begin_at)
            if due <= now() and self._pacer.is_held(self._preview.chat_id):
                due = now() + LOOK_SECONDS
            if due > now():
                await self._wait(due - now())
                continue
            if view.is_answer and not await self._is_its_turn():
                self._retry_at = now() + TURN_LOOK_SECONDS
                continue
            async with self._room.lock:
                # another answer of the chat's may have had its turn meanwhile
                if self._due(view, now(), begin_at) <= now():
                    await self._show(view)
            await self._note()

    async def _is_its_turn(self) -> bool:
        """A message stays where it was sent: were it sent before an earlier answer, which may be held up by Telegram or by the
        lease of a bot that was killed, this answer would stand above that one for ever. Drafts stand nowhere.
        """
        if self._surface.is_draft or self._surface.message_id is not None:
            return True
        preview = self._preview
        try:
            async with asyncio.timeout(NOTE_SECONDS):
                return await is_next(self._gateway, preview.task_id, preview.chat_id, preview.thread_id)
        except GatewayRefusalError as error:
            logger.info("The ledger does not say what is open (%s)", error.message, extra=self._extra)
        except (AssistantError, TimeoutError):
            pass
        return False

    def _due(self, view: View, now: float, begin_at: float) -> float:
        """When `view` may be shown, or has to be shown again."""
        pace, ready_at = self._room.pace, self._retry_at if view.is_answer else max(begin_at, self._retry_at)
        if self._surface.is_draft:
            again_at = self._shown_at + KEEP_ALIVE_SECONDS if view == self._shown else ready_at
            return max(again_at, ready_at, pace.draft_at())
        if not view.is_answer:
            return max(ready_at, self._typed_at + TYPING_SECONDS, pace.held_until)
        return NEVER if view == self._shown else max(ready_at, pace.edit_at(now))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(None if seconds == NEVER else seconds):
                await self._reader.changed.wait()
        except TimeoutError:
            pass

    async def _show(self, view: View) -> None:
        """One call, where it would change anything."""
        now, surface = asyncio.get_running_loop().time, self._surface
        if isinstance(surface, MessageSurface) and not view.is_answer:
            # Only here: a draft says as much already, and Telegram makes both of one thing, so that each would end the other.
            self._typed_at = now()
            self._take(await self._call(surface.type))
            return
        part = self._part_of(view)
        is_same = part == self._part and now() < self._shown_at + KEEP_ALIVE_SECONDS
        if is_same or (view.is_answer and not part.text.strip()):
            self._shown = view
            return
        verdict = await self._call(lambda: surface.show(part, is_answer=view.is_answer), is_text=True)
        if verdict.outcome is Outcome.SHOWN:
            self._shown, self._part, self._shown_at = view, part, now()
        self._take(verdict)

    def _part_of(self, view: View) -> TextPart:
        if not view.is_answer:
            return TextPart(view.text)
        try:
            part = self._render(view.text)
        except Exception:
            logger.exception("A preview could not be formatted", extra=self._extra)
            return TextPart(view.text[-SAFE_CHARS:])
        return TextPart(part.text) if self._is_plain else part

    async def _call(self, method: Callable[[], Awaitable[None]], *, is_text: bool = False) -> Verdict:
        """Cancelled, it ends with the request, not before: what is said after it must not be overtaken."""
        call = asyncio.create_task(self._attempt(method, is_text))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait({call})
            raise

    async def _attempt(self, method: Callable[[], Awaitable[None]], is_text: bool) -> Verdict:
        now, pace, is_draft = asyncio.get_running_loop().time, self._room.pace, self._surface.is_draft
        started, verdict = now(), Verdict(Outcome.SHOWN)
        try:
            with urgency(Urgency.PREVIEW):
                await method()
        except Exception as error:
            verdict = verdict_of(error, is_draft=is_draft)
            if verdict.outcome not in (Outcome.SKIPPED, Outcome.SHOWN):
                # not the error's own words: they name the chat
                logger.info(
                    "A preview was not shown: %s (%s)", verdict.outcome.name.lower(), type(error).__name__, extra=self._extra
                )
        if verdict.outcome is Outcome.HELD:
            pace.hold(now() + verdict.seconds)
        if is_text and verdict.outcome is not Outcome.SKIPPED:
            if is_draft:
                pace.note_draft(started)
            else:
                pace.note_edit(now())
        return verdict

    def _take(self, verdict: Verdict) -> None:
        """What follows for the next one."""
        now = asyncio.get_running_loop().time()
        self._failures = self._failures + 1 if verdict.outcome is Outcome.LATER else 0
        self._skips = self._skips + 1 if verdict.outcome is Outcome.SKIPPED else 0
        match verdict.outcome:
            case Outcome.SKIPPED:
                # Who finds no room comes again, not all at once, and less often where many want it: formatting in vain costs.
                # The first words are short, and worth a try.
                most = MOST_LOOKS if self._shown is not None and self._shown.is_answer else 2
                looks = min(2 ** (self._skips - 1), most)
                self._retry_at = now + random.uniform(0.5, 1.0) * looks * LOOK_SECONDS  # noqa: S311 - not a secret
            case Outcome.PLAIN if not self._is_plain:
                self._is_plain = True
            case Outcome.UNSUPPORTED:
                self._room.takes_drafts = False
                self._surface = MessageSurface(self._bot, self._preview)
                self._shown = self._part = None
            case Outcome.OVER:
                self._is_over = True
            case Outcome.LATER | Outcome.PLAIN:
                self._retry_at = now + min(FIRST_PAUSE_SECONDS * 2 ** max(self._failures - 1, 0), LONGEST_PAUSE_SECONDS)

    async def _note(self) -> None:
        """Tell the ledger of the message. (A bot that is killed just before this leaves a message that ends in mid-sentence:
        the answer comes in another one. Telegram has no call that could be repeated safely, so that gap stays.)"""
        message_id = self._surface.message_id
        if message_id is None or message_id == self._noted:
            return
        try:
            async with asyncio.timeout(NOTE_SECONDS):
                await note_preview(self._gateway, self._preview.task_id, message_id)
        except GatewayRefusalError as error:
            logger.info("The ledger does not want a preview (%s)", error.message, extra=self._extra)
        except (AssistantError, TimeoutError):
            return
        self._noted = message_id

    async def _conclude(self) -> None:
        """Stopped, and nothing was kept: no answer comes that could take the message's place."""
        status = self._reader.known.ended
        surface = self._surface
        if status is None or status["status"] != "cancelled" or str(status["text"]).strip():
            return
        if isinstance(surface, MessageSurface) and surface.message_id is not None:
            part = TextPart(say("stopped", self._preview.language))
            async with self._room.lock:
                try:
                    await surface.show(part, is_answer=False)
                except Exception as error:
                    logger.info("A preview was left as it was (%s)", error, extra=self._extra)
