"""An answer as it is written: the gateway's stream of one task, over cut connections and restarts of the gateway."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from ai_assistant.sse import EventParser, ServerSentEvent

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0

SILENCE_SECONDS = 45.0
"""The gateway says every 15 s that it lives: after three times nothing the stream is opened anew."""

TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Queued:
    """The task waits; 1 is next."""

    position: int
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class Written:
    """All of the text so far."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The task is over; its status object."""

    status: dict[str, Any]


AnswerEvent = Queued | Written | Ended


class BrokenStreamError(Exception):
    """What came is not a continuation of what came before: the text is asked for anew."""


async def follow_answer(gateway: GatewayClient, task_id: str) -> AsyncGenerator[AnswerEvent, None]:
    """What happens to a task, from its first character to its end. Close it in the end.

    Waits for a gateway that is away, however long. Raises GatewayRefusalError if there is no such task.
    """
    text, pause = "", FIRST_PAUSE_SECONDS
    while True:
        # an event's id is the number of code points that its reader has then
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(len(text))}
        try:
            async with gateway.stream(f"/api/chat/{task_id}/stream", headers=headers, timeout=SILENCE_SECONDS) as response:
                check(response)
                parser = EventParser()
                async for chunk in response.aiter_bytes():
                    pause = FIRST_PAUSE_SECONDS
                    text, news = take(text, parser.push(chunk))
                    for event in news:
                        yield event
                        if isinstance(event, Ended):
                            return
            problem = "the stream ended"
        except BrokenStreamError as error:
            text, problem = "", str(error)
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            problem = f"{type(error).__name__}: {error}"
        logger.info("The stream of an answer broke off (%s); opening it again", problem, extra={"task_id": task_id})
        # not all at once: a gateway that comes back has hundreds of readers
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def check(response: httpx.Response) -> None:
    """Raises GatewayRefusalError for a refusal, httpx.HTTPStatusError for what passes."""
    if response.is_success:
        return
    sentence = f"HTTP {response.status_code}"
    if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR and response.status_code != TOO_MANY:
        raise GatewayRefusalError(sentence, "")
    raise httpx.HTTPStatusError(sentence, request=response.request, response=response)


def take(text: str, events: Sequence[ServerSentEvent]) -> tuple[str, list[AnswerEvent]]:
    """The text after these events, and what a reader should know; texts that were changed at once are told once.

    Raises BrokenStreamError where a piece is missing, and ValueError, KeyError or TypeError for what is not our protocol.
    """
    news: list[AnswerEvent] = []
    before = text
    for event in events:
        data = json.loads(event.data)
        if event.name == "queue":
            news.append(Queued(data["position"], data["eta_seconds"]))
        elif event.name in ("token", "reset"):
            offset = data["offset"]
            if offset > len(text):
                raise BrokenStreamError(f"{offset - len(text)} characters are missing")
            text = text[:offset] + (data["text"] if event.name == "token" else "")
        elif event.name in ("done", "error"):
            if text != before:
                news.append(Written(text))
            return text, [*news, Ended(data)]
    if text != before:
        news.append(Written(text))
    return text, news
