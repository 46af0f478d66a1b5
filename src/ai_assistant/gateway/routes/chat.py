"""Chat: ask, look, watch and stop."""

import dataclasses
import uuid
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from ai_assistant.contracts import TaskState
from ai_assistant.deliveries import questions
from ai_assistant.deliveries.register import Destination
from ai_assistant.errors import InvalidRequestError, TaskNotFoundError
from ai_assistant.gateway import sse
from ai_assistant.gateway.authentication import Principal
from ai_assistant.gateway.cancellation import cancel_task
from ai_assistant.gateway.dependencies import Caller, State
from ai_assistant.gateway.schemas import ChatAccepted, ChatRequest, DeliveryRequest, ErrorBody, Queue, TaskStatus, Usage
from ai_assistant.gateway.state import AppState
from ai_assistant.gateway.stream_events import EndEvent, Event, QueueEvent, ResetEvent, TokenEvent
from ai_assistant.gateway.submit import Order, check_idempotency_key, check_message, fingerprint, submit
from ai_assistant.gateway.task_snapshot import TaskSnapshot, read_snapshots

router = APIRouter(prefix="/api", tags=["chat"])

CANCEL_WAIT_SECONDS = 1.0
MAX_OFFSET_DIGITS = 18


@router.post("/chat", status_code=202)
async def ask(
    state: State,
    principal: Caller,
    body: ChatRequest,
    response: Response,
    idempotency_key: Annotated[str | None, Header(description="Repeating a request within 24 h makes no second task.")] = None,
) -> ChatAccepted:
    """Ask an assistant. The answer is on its way when this returns: read its status or stream."""
    check_idempotency_key(idempotency_key)
    user = principal.user_for(body.user_id)
    if body.author is not None or body.instructions is not None:
        principal.require_service("Only a service key may set `author` and `instructions`.")
    if body.message is not None:
        check_message(body.message, state.settings)
    order = Order(
        user=user,
        assistant=body.assistant,
        sampling={
            "max_tokens": body.max_tokens,
            "temperature": body.temperature,
            "top_p": body.top_p,
            "seed": body.seed,
            "stop": [body.stop] if isinstance(body.stop, str) else body.stop,
        },
        idempotency_key=idempotency_key,
        fingerprint=fingerprint(user, body.model_dump(mode="json", exclude_unset=True, exclude={"user_id"})),
        message=body.message,
        conversation_id=body.conversation_id,
        regenerate_of=body.regenerate_of,
        edit_of=body.edit_of,
        author=principal.user_for(body.author) if body.author is not None else None,
        persona=body.instructions,
        destination=destination_of(principal, body.delivery),
    )
    task = (await submit(state, principal, order)).task
    response.headers["Location"] = f"/api/status/{task.id}"
    return ChatAccepted(
        task_id=task.id,
        conversation_id=task.conversation_id,
        status=task.status,
        queue=queue_of(task),
        user_message_id=task.user_message_id,
        answer_message_id=task.answer_message_id,
    )


@router.get("/status/{task_id}")
async def read_status(
    state: State,
    principal: Caller,
    task_id: uuid.UUID,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the end; returns early.")] = 0,
) -> TaskStatus:
    """How far a task is, with the text so far."""
    task = await find(state, principal, task_id)
    if wait and not task.is_final:
        task = await state.hub.wait_final(task_id, wait) or await find(state, principal, task_id)
    return status_of(task, await state.hub.text_so_far(task))


@router.get("/chat/{task_id}/stream", response_class=sse.EventStream, status_code=200)
async def watch(
    state: State,
    principal: Caller,
    task_id: uuid.UUID,
    last_event_id: Annotated[str | None, Header(description="Id of the last event that was read: go on after it.")] = None,
    last_event_id_query: Annotated[str | None, Query(alias="last_event_id")] = None,
) -> sse.EventStream:
    """The answer as it is written, as server-sent events: `queue`, `token`, `reset`, then `done` or `error`.

    Events carry the number of code points that the client has after them as their id. Going away does not cancel.
    """
    offset = parse_offset(last_event_id or last_event_id_query)
    task = await find(state, principal, task_id)
    return sse.EventStream(_watch(state, task, offset))


@router.delete("/chat/{task_id}")
async def stop(
    state: State,
    principal: Caller,
    task_id: uuid.UUID,
    withdraw: Annotated[bool, Query(description="Deliver nothing of it to its channel, unless that has begun.")] = False,
) -> TaskStatus:
    """Cancel a task; its partial text is kept. Of a task that is over, this is only its status."""
    task = await find(state, principal, task_id)
    if withdraw:
        async with state.database.session() as session:
            await questions.withdraw(session, task_id)
    if not task.is_final:
        cancellation = await cancel_task(state, task_id, task.assistant)
        if cancellation is not None and not cancellation.ended:
            await state.hub.wait_final(task_id, CANCEL_WAIT_SECONDS)
        task = await find(state, principal, task_id)
    return status_of(task, await state.hub.text_so_far(task))


async def _watch(state: AppState, task: TaskSnapshot, offset: int) -> AsyncGenerator[str, None]:
    yield sse.RETRY
    # not `aclosing`: the response closes this generator, which closes that one
    events = state.hub.events(task.id, offset=offset, idle_seconds=sse.PING_SECONDS)
    try:
        async for event in events:
            yield write(event, task)
    finally:
        await events.aclose()


def write(event: Event, task: TaskSnapshot) -> str:
    """The event as clients see it; `task` is what was known at the beginning."""
    match event:
        case QueueEvent(position, eta_seconds):
            return sse.event("queue", {"position": position, "eta_seconds": eta_seconds})
        case TokenEvent(offset, text):
            return sse.event("token", {"offset": offset, "text": text}, event_id=offset + len(text))
        case ResetEvent(offset):
            return sse.event("reset", {"offset": offset}, event_id=offset)
        case EndEvent(final):
            if final is None:
                deleted = {"code": TaskNotFoundError.code, "message": "This task was deleted."}
                final = dataclasses.replace(task, state=TaskState.CANCELLED, text="", error=deleted, place=None)
            is_error = final.error is not None or final.state in (TaskState.FAILED, TaskState.EXPIRED)
            return sse.event("error" if is_error else "done", status_of(final, final.text).model_dump(mode="json"))
        case _:
            return sse.PING


async def find(state: AppState, principal: Principal, task_id: uuid.UUID) -> TaskSnapshot:
    """Raises TaskNotFoundError, also for another user's task; services see all."""
    async with state.database.session() as session:
        task = (await read_snapshots(session, [task_id])).get(task_id)
    if task is None or not (principal.is_service or task.user == principal.user):
        raise TaskNotFoundError(f"There is no task {task_id}.")
    return task


def destination_of(principal: Principal, delivery: DeliveryRequest | None) -> Destination | None:
    """Raises ForbiddenError."""
    if delivery is None:
        return None
    principal.require_service("Only a service key may order a `delivery`.")
    target = delivery.target
    return Destination(
        channel=delivery.channel, target=target.model_dump(exclude_none=True), target_key=target.key, lane=target.lane
    )


def parse_offset(value: str | None) -> int:
    """Raises InvalidRequestError for what is not an event id of ours."""
    if value is None or value == "":
        return 0
    if not (value.isascii() and value.isdigit() and len(value) <= MAX_OFFSET_DIGITS):
        raise InvalidRequestError("Last-Event-ID is not the id of an event of this stream.")
    return int(value)


def queue_of(task: TaskSnapshot) -> Queue | None:
    return Queue(position=task.place.position, eta_seconds=task.place.eta_seconds) if task.place else None


def status_of(task: TaskSnapshot, text: str) -> TaskStatus:
    usage = None
    if task.prompt_tokens is not None and task.completion_tokens is not None:
        usage = Usage(prompt_tokens=task.prompt_tokens, completion_tokens=task.completion_tokens)
    return TaskStatus(
        task_id=task.id,
        conversation_id=task.conversation_id,
        status=task.status,
        text=text,
        queue=queue_of(task),
        usage=usage,
        finish_reason=task.finish_reason,
        error=ErrorBody(code=task.error["code"], message=task.error["message"]) if task.error else None,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
    )
