"""Reading what is known of one answer while it is written: its text, its place in the queue, and why it does not begin."""

import asyncio
import logging
from contextlib import aclosing

from ai_assistant.bot.answer_stream import Ended, Queued, follow_answer
from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from ai_assistant.bot.preview_readiness import Readiness
from ai_assistant.bot.preview_view import Known
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 1.0
"""Who waits for less is not told why."""

ASK_AGAIN_SECONDS = 4.0


class Reader:
    """`changed` is set when there is news in `known`."""

    def __init__(self, gateway: GatewayClient, readiness: Readiness, task_id: str, assistant: str | None) -> None:
        self.known = Known()
        self.changed = asyncio.Event()
        self._gateway = gateway
        self._readiness = readiness
        self._task_id = task_id
        self._assistant = assistant
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *, with_reasons: bool) -> None:
        """`with_reasons`: also ask for how long the model will take to be ready."""
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._explain(with_reasons))]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async with aclosing(follow_answer(self._gateway, self._task_id)) as events:
                async for event in events:
                    if isinstance(event, Queued):
                        self.known.place = event
                    elif isinstance(event, Ended):
                        self.known.ended = event.status
                    else:
                        self.known.text = event.text
                    self.changed.set()
        except GatewayRefusalError as error:
            logger.info("An answer cannot be shown while it is written (%s)", error.message, extra={"task_id": self._task_id})
        except Exception:
            logger.exception("An answer cannot be shown while it is written", extra={"task_id": self._task_id})
        self.known.is_lost = self.known.ended is None
        self.changed.set()

    async def _explain(self, with_reasons: bool) -> None:
        await asyncio.sleep(PATIENCE_SECONDS)
        self.known.is_late = True
        self.changed.set()
        while with_reasons and not self.known.text:
            try:
                self.known.unready = await self._readiness.of(self._assistant)
            except AssistantError as error:
                logger.info("The gateway does not say how ready its assistants are (%s)", error.message)
            except Exception:
                logger.exception("Nothing is known of how ready the assistants are")
                return
            self.changed.set()
            await asyncio.sleep(ASK_AGAIN_SECONDS)
