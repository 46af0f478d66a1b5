"""Delivering: answers that the gateway's ledger says are due are sent part by part, and every step is reported.

Nothing is kept here that a killed bot could lose: before a part is sent the ledger knows that it may arrive, after that
that it has.
"""

import asyncio
import logging
import os
import socket
from typing import Any

from aiogram import Bot
from aiogram.exceptions import AiogramError
from aiogram.types import Message, ReplyParameters

from ai_assistant.bot.formatting.split import split_text
from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from ai_assistant.bot.send_errors import report_of
from ai_assistant.bot.texts import say
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

MAX_PARALLEL = 30
"""Deliveries at once, each to another chat: what Telegram takes from a bot in a second."""

PART_UNITS = 4000
"""Of Telegram's 4,096: a part that is sent again needs room for its mark."""

SEND_SECONDS = 20
LEASE_SECONDS = 30
"""Longer than one sending may take, so that nobody else begins meanwhile."""

PAUSE_SECONDS = 2.0


class Deliverer:
    """One per bot."""

    def __init__(self, bot: Bot, gateway: GatewayClient) -> None:
        self._bot = bot
        self._gateway = gateway
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._loop: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._sent: dict[str, list[int]] = {}
        """Message ids per unfinished delivery: what a gateway that was away could not be told."""

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run())

    async def stop(self, seconds: float) -> None:
        """Claim nothing more, and give what is being sent a moment to arrive."""
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
                claimed = await self._gateway.claim(self._worker, MAX_PARALLEL - len(self._sending), LEASE_SECONDS)
            except AssistantError as error:
                logger.warning("The gateway does not say which answers are due (%s)", error.message)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            except Exception:
                logger.exception("Claiming answers failed; trying again")
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            for item in claimed:
                sending = asyncio.create_task(self._deliver(item))
                self._sending.add(sending)
                sending.add_done_callback(self._sending.discard)

    async def _deliver(self, item: dict[str, Any]) -> None:
        """Bring one answer as far as it gets. Whatever happens, the ledger knows what to do next."""
        try:
            report = await self._send_parts(item)
        except GatewayRefusalError as error:
            logger.info("A delivery was given to somebody else (%s)", error.message, extra={"delivery_id": item["id"]})
            return
        except AssistantError as error:
            logger.warning("A delivery could not be reported (%s)", error.message, extra={"delivery_id": item["id"]})
            return
        except Exception as error:
            report = report_of(error)
            surprise = None if isinstance(error, (AiogramError, OSError)) else error
            sentence = "An answer could not be sent: %s (%s)"
            extra = {"delivery_id": item["id"]}
            logger.warning(sentence, report["event"], type(error).__name__, exc_info=surprise, extra=extra)
        if report is not None:
            try:
                await self._report(item, **report)
            except AssistantError as error:
                logger.info("A delivery's end was not reported (%s)", error.message, extra={"delivery_id": item["id"]})

    async def _send_parts(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """Send what is left. Returns the last report, if one is needed. Raises what Telegram and the gateway raise."""
        target = item["target"]
        parts = split_text(answer_text(item["task"], target.get("language")), PART_UNITS)
        uncertain = item["uncertain"]
        arrived = self._sent.setdefault(item["id"], [])
        arrived.extend(item["parts"][len(arrived) :])
        for part in range(len(item["parts"]), len(parts)):
            if self._is_stopping:
                return {"event": "released"}
            await self._report(item, "in_flight", part=part, parts_total=len(parts))
            if part >= len(arrived):
                text = say("resent", target.get("language")) + parts[part] if uncertain else parts[part]
                arrived.append((await self._send(target, text, is_first=part == 0)).message_id)
            await self._report(item, "part_done", part=part, message_id=arrived[part])
            uncertain = False
        del self._sent[item["id"]]
        return {"event": "delivered"} if len(item["parts"]) >= len(parts) else None

    async def _send(self, target: dict[str, Any], text: str, *, is_first: bool) -> Message:
        reply = None
        if is_first and target.get("reply_to"):
            reply = ReplyParameters(message_id=target["reply_to"], allow_sending_without_reply=True)
        return await self._bot.send_message(
            target["chat_id"],
            text,
            message_thread_id=target.get("thread_id"),
            reply_parameters=reply,
            request_timeout=SEND_SECONDS,
        )

    async def _report(self, item: dict[str, Any], event: str, **details: Any) -> None:
        await self._gateway.report(item["id"], item["attempt"], event, lease_seconds=LEASE_SECONDS, **details)


def answer_text(task: dict[str, Any], language: str | None) -> str:
    """What the reader gets for a task that is over."""
    text = str(task["text"]).strip()
    if not text and task["error"]:
        text = say("failed", language, message=task["error"]["message"])
    return text or say("empty", language)
