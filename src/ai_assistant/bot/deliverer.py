"""Delivering: what the gateway's ledger says is due is sent part by part, and every step is reported.

Nothing is kept here that a killed bot could lose. Before a part is sent the ledger knows that it may arrive, after that that
it has; whoever comes in between marks what may be there already. A sender that has lost its lease learns of it before it
sends, because every try is reported first, and no try outlives the lease that its report has renewed.
"""

import asyncio
import functools
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramAPIError

from ai_assistant.bot.delivery_client import LEASE_SECONDS, LOST, DeliveryClient
from ai_assistant.bot.formatting.parts import Part, from_json
from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from ai_assistant.bot.outcome import parts_of
from ai_assistant.bot.pacing import Urgency, urgency
from ai_assistant.bot.part_sending import SEND_SECONDS, Form, send
from ai_assistant.bot.preview_client import note_preview
from ai_assistant.bot.send_errors import report_of
from ai_assistant.bot.sent_parts import SentParts
from ai_assistant.bot.texts import say
from ai_assistant.bot.turns import PATIENCE_SECONDS
from ai_assistant.errors import AssistantError
from ai_assistant.metrics import BotMetrics

logger = logging.getLogger(__name__)

MAX_PARALLEL = 30
"""Deliveries at once, each to another chat: what Telegram takes from a bot in a second."""

SLOWEST_REPORT_SECONDS = LEASE_SECONDS - SEND_SECONDS - PATIENCE_SECONDS
"""Of a lease whose renewal took longer too little is left for a sending."""

PREVIEW_SECONDS = 5.0
HAND_OVER_SECONDS = 1.0
TOO_LARGE = 413
NOT_ABOUT_IT = (401, 403)
"""Statuses of refusals that say nothing of the delivery itself, but of a key."""

PAUSE_SECONDS = 2.0


async def no_previews(_: str) -> int | None:
    """For a bot that shows none."""
    return None


class Deliverer:
    """One per bot. `before_final(task_id)` is awaited before an answer's first part: it ends the answer's previews, and
    returns the message that shows the answer, if one does."""

    def __init__(
        self,
        bot: Bot,
        gateway: GatewayClient,
        before_final: Callable[[str], Awaitable[int | None]] = no_previews,
        metrics: BotMetrics | None = None,
    ) -> None:
        self._bot = bot
        self._gateway = gateway
        self._metrics = metrics
        self._ledger = DeliveryClient(gateway, metrics)
        self._before_final = before_final
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._loop: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._latest: dict[str, asyncio.Task[None]] = {}
        """Of these, by delivery."""
        self._is_stopping = False
        self._sent = SentParts()

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run())

    async def stop(self, seconds: float) -> None:
        """Claim nothing more, let arrive what is on its way, and give the rest back."""
        self._is_stopping = True
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            if len(self._sending) >= MAX_PARALLEL:
                await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
                continue
            try:
                claimed = await self._ledger.claim(self._worker, MAX_PARALLEL - len(self._sending))
            except AssistantError as error:
                logger.warning("The gateway does not say which answers are due (%s)", error.message)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            except Exception:
                logger.exception("Claiming answers failed; trying again")
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            for item in claimed:
                self._begin(item)

    def _begin(self, item: dict[str, Any]) -> None:
        """Deliver in the background, after what an earlier claim of ours still does with it."""
        sending = asyncio.create_task(self._deliver(item, self._latest.get(item["id"])))
        self._sending.add(sending)
        self._latest[item["id"]] = sending
        sending.add_done_callback(lambda task: self._ended(item["id"], task))

    def _ended(self, delivery_id: str, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if self._latest.get(delivery_id) is task:
            del self._latest[delivery_id]

    async def _deliver(self, item: dict[str, Any], earlier: asyncio.Task[None] | None) -> None:
        """Bring one answer as far as it gets. Whatever happens, the ledger knows what to do next."""
        extra = {"delivery_id": item["id"]}
        try:
            if earlier is not None:
                await asyncio.wait([earlier])
            with urgency(Urgency.BROADCAST if item["task"] is None else Urgency.FINAL):
                report = await self._bring(item)
        except GatewayRefusalError as error:
            if error.reason in LOST:
                logger.info("A delivery was given to somebody else (%s)", error.message, extra=extra)
                return
            if not error.reason or error.status in NOT_ABOUT_IT:
                # a proxy's word, or a key that changes: the lease runs out, and it is tried again
                logger.warning("A delivery could not be reported: %s (%d)", error.message, error.status, extra=extra)
                return
            # asked again it would say the same, and the chat's other answers would wait for ever
            logger.error("The gateway refuses to keep account of a delivery: %s", error.message, extra=extra)
            report = {"event": "refused", "error": error.message}
        except AssistantError as error:
            logger.warning("A delivery could not be reported (%s)", error.message, extra=extra)
            return
        except asyncio.CancelledError:
            await self._hand_over(item)
            raise
        except Exception as error:
            report = report_of(error)
            surprise = None if isinstance(error, (AiogramError, OSError)) else error
            sentence = "A delivery was interrupted: %s (%s)"
            level = logging.INFO if report["event"] in ("retry_after", "moved") else logging.WARNING
            logger.log(level, sentence, report["event"], report.get("error", ""), exc_info=surprise, extra=extra)
        if report is not None:
            try:
                await self._ledger.report(item, **report)
            except AssistantError as error:
                logger.info("A delivery's end was not reported (%s)", error.message, extra=extra)

    async def _bring(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """Send what is left. Returns the last report, if one is needed. Raises what Telegram and the gateway raise."""
        plan = await self._plan(item)
        done = len(item["parts"])
        if done >= len(plan):
            return {"event": "delivered"}
        if done == 0 and item["task"] is not None:
            await self._end_previews(item)
        arrived = self._sent.of(item)
        for number in range(done, len(plan)):
            is_news = number not in arrived
            if is_news:
                if self._is_stopping:
                    return {"event": "released"}
                is_uncertain = item["uncertain"] and number == done
                form = form_of(item, plan[number], number, is_last=number == len(plan) - 1, is_uncertain=is_uncertain)
                begin = functools.partial(self._renew, item, number, len(plan))
                arrived[number] = await send(self._bot, form, begin)
                if is_uncertain and self._metrics is not None:
                    self._metrics.duplicates_marked.inc()
            await self._ledger.report(item, "part_done", part=number, message_id=arrived[number])
            if is_news and number == 0:
                await self._remove_preview(item, arrived[0])
        self._sent.forget(item)
        return None

    async def _plan(self, item: dict[str, Any]) -> list[Part]:
        """The parts: as the ledger keeps them, else made now and given to the ledger before any of them is sent."""
        if item.get("plan") is not None:
            return [from_json(part) for part in item["plan"]]
        plan = parts_of(item)
        if len(plan) > len(item["parts"]):
            try:
                await self._ledger.report(item, "planned", plan=[part.to_json() for part in plan])
            except GatewayRefusalError as error:
                if error.status != TOO_LARGE:
                    raise
                # the same version of the bot makes the same parts again
                logger.info("The parts of an answer are too much to keep (%s)", error.message, extra={"delivery_id": item["id"]})
        return plan

    async def _renew(self, item: dict[str, Any], part: int, parts_total: int) -> None:
        """The ledger knows that this part may arrive from now on, and nobody else begins before it has."""
        loop = asyncio.get_running_loop()
        while True:
            asked_at = loop.time()
            await self._ledger.report(item, "in_flight", part=part, parts_total=parts_total)
            if loop.time() - asked_at < SLOWEST_REPORT_SECONDS:
                return

    async def _end_previews(self, item: dict[str, Any]) -> None:
        """Best effort: the answer does not depend on their end."""
        task_id = item["task"]["task_id"]
        try:
            async with asyncio.timeout(PREVIEW_SECONDS):
                message_id = await self._before_final(task_id)
        except Exception:
            logger.exception("The previews of an answer could not be ended", extra={"task_id": task_id})
            return
        if message_id is not None and message_id != item.get("preview_message_id"):
            # The message was on its way when the ledger gave the delivery out, or the gateway was away when it arrived. Not
            # best effort: whoever comes after a killed bot would send the answer beside it.
            await note_preview(self._gateway, task_id, message_id)
            item["preview_message_id"] = message_id

    async def _remove_preview(self, item: dict[str, Any], message_id: int) -> None:
        """A preview that could not become the first part, which is a file for instance. Best effort."""
        preview = item.get("preview_message_id")
        if preview is None or preview == message_id:
            return
        try:
            await self._bot.delete_message(item["target"]["chat_id"], preview, request_timeout=int(PREVIEW_SECONDS))
        except TelegramAPIError as error:
            logger.info("A preview stays (%s)", error, extra={"delivery_id": item["id"]})

    async def _hand_over(self, item: dict[str, Any]) -> None:
        """The bot stops and cannot wait: the next one need not wait for the lease to end."""
        try:
            async with asyncio.timeout(HAND_OVER_SECONDS):
                await self._ledger.report(item, "failed", error="The bot was stopped while it was sending.", uncertain=True)
        except (AssistantError, TimeoutError) as error:
            logger.info("A delivery was left to its lease (%s)", error, extra={"delivery_id": item["id"]})


def form_of(item: dict[str, Any], part: Part, number: int, *, is_last: bool, is_uncertain: bool) -> Form:
    """How a part is to be sent in the best case."""
    target = item["target"]
    is_first = number == 0
    return Form(
        chat_id=target["chat_id"],
        part=part,
        edited=item.get("preview_message_id") if is_first else None,
        thread_id=target.get("thread_id"),
        reply_to=target.get("reply_to") if is_first else None,
        is_silent=not is_last,
        mark=say("resent", target.get("language")) if is_uncertain else "",
    )
