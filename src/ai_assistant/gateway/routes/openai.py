"""OpenAI's chat completions: an assistant is a model, a request is a task without a conversation. Who goes away cancels."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from ai_assistant import assistants
from ai_assistant.database.models import Assistant
from ai_assistant.errors import AssistantError
from ai_assistant.gateway import sse
from ai_assistant.gateway.cancellation import cancel_abandoned
from ai_assistant.gateway.departure import GONE, unless_gone
from ai_assistant.gateway.dependencies import Caller, State
from ai_assistant.gateway.openai_answers import (
    Answer,
    AnswerChangedError,
    DeadlineExceededError,
    ShuttingDownError,
    error_chunk,
    require_success,
)
from ai_assistant.gateway.openai_schemas import ChatCompletionRequest
from ai_assistant.gateway.state import AppState
from ai_assistant.gateway.stream_events import EndEvent, Event, ResetEvent, TokenEvent
from ai_assistant.gateway.submit import Order, check_length, submit
from ai_assistant.gateway.task_snapshot import TaskSnapshot

router = APIRouter(prefix="/v1", tags=["openai"])

FIRST_SECONDS = 5.0
"""A streaming answer's status is held back this long for an error; then it is 200, and pings say that the request waits."""

OVERTIME_SECONDS = 30.0
"""After a task's deadline, for PostgreSQL to come back and say how it ended."""


@router.get("/models")
async def list_models(state: State) -> dict[str, Any]:
    """The assistants."""
    async with state.database.session() as session:
        found = await assistants.list_all(session)
    return {"object": "list", "data": [model(item) for item in found]}


@router.get("/models/{model_id}")
async def read_model(state: State, model_id: str) -> dict[str, Any]:
    """One assistant."""
    async with state.database.session() as session:
        return model(await assistants.resolve(session, model_id))


@router.post("/chat/completions", response_model=None)
async def complete(state: State, principal: Caller, request: Request, body: ChatCompletionRequest) -> Response:
    """A chat completion. Closing the connection cancels it."""
    body.check()
    messages = body.plain_messages()
    for index, message in enumerate(messages):
        check_length(message["content"], state.settings, f"messages.{index}.content")
    order = Order(user=principal.user, assistant=body.model, sampling=body.sampling(), messages=messages)
    task = (await submit(state, principal, order)).task
    watched = Watched(state, task)
    try:
        return await (start_stream(watched, request, body) if body.stream else wait_for_answer(watched, request))
    except BaseException:
        watched.leave()
        raise


class Watched:
    """A task that exists for one request only."""

    def __init__(self, state: AppState, task: TaskSnapshot) -> None:
        self.task = task
        self._state = state
        self._watch = state.hub.watch(task.id)
        self._clock = asyncio.get_running_loop().time
        self._give_up_at = self._clock() + state.settings.task_seconds + OVERTIME_SECONDS
        self._is_over = False
        self._has_left = False

    async def next(self, seconds: float) -> list[Event]:
        """Events, an IdleEvent after `seconds` without one. Raises ShuttingDownError, DeadlineExceededError."""
        events = await self._watch.next(seconds)
        if not events:
            raise ShuttingDownError
        if self._clock() > self._give_up_at:
            raise DeadlineExceededError
        self._is_over = isinstance(events[-1], EndEvent)
        return events

    def leave(self) -> None:
        """Nobody waits any more: stop the worker, unless it has stopped."""
        if self._has_left:
            return
        self._has_left = True
        self._watch.close()
        if not self._is_over:
            self._state.hub.background.spawn(cancel_abandoned(self._state, self.task.id, self.task.assistant))


async def wait_for_answer(watched: Watched, request: Request) -> Response:
    """The whole answer in one piece."""

    async def final() -> TaskSnapshot | None:
        while True:
            for event in await watched.next(sse.PING_SECONDS):
                if isinstance(event, EndEvent):
                    return event.task

    finished = await unless_gone(request, final())
    watched.leave()
    if finished is None:
        return Response(status_code=GONE)
    return JSONResponse(Answer(watched.task).completion(require_success(finished[0])))


async def start_stream(watched: Watched, request: Request, body: ChatCompletionRequest) -> Response:
    """Begin to stream. What fails soon is still an error with a status; what waits long is told so by pings."""

    async def first() -> list[Event]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SECONDS):
                while True:
                    events = await watched.next(FIRST_SECONDS)
                    for event in events:
                        if isinstance(event, EndEvent):
                            require_success(event.task)
                    if any(isinstance(event, (TokenEvent, EndEvent)) for event in events):
                        return events
        return []

    begun = await unless_gone(request, first())
    if begun is None:
        watched.leave()
        return Response(status_code=GONE)
    answer = Answer(watched.task, include_usage=body.stream_options is not None and body.stream_options.include_usage)
    return sse.EventStream(write_stream(watched, answer, begun[0]), closing=watched.leave)


async def write_stream(watched: Watched, answer: Answer, events: list[Event]) -> AsyncGenerator[str, None]:
    """Chunks, `events` first."""
    try:
        yield sse.event(None, answer.first())
        while True:
            for event in events:
                match event:
                    case TokenEvent(_, text):
                        yield sse.event(None, answer.content(text))
                    case ResetEvent():
                        raise AnswerChangedError
                    case EndEvent(task):
                        for chunk in answer.last(require_success(task)):
                            yield sse.event(None, chunk)
                        yield sse.event(None, "[DONE]")
                        return
                    case _:
                        yield sse.PING
            events = await watched.next(sse.PING_SECONDS)
    except AssistantError as error:
        yield sse.event(None, error_chunk(error))


def model(assistant: Assistant) -> dict[str, Any]:
    return {
        "id": assistant.name,
        "object": "model",
        "created": int(assistant.updated_at.timestamp()),
        "owned_by": "ai-assistant",
    }
