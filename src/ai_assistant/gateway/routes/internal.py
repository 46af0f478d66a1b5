"""The second port: numbers for Prometheus, and the operator's word on which assistants there are."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, Field

from ai_assistant import assistants
from ai_assistant.gateway import sse
from ai_assistant.gateway.dependencies import State
from ai_assistant.gateway.erasure import Erasure, announce
from ai_assistant.gateway.schemas import Finite, Strict
from ai_assistant.gateway.state import AppState
from ai_assistant.tasks.cancel import withdraw

router = APIRouter(tags=["internal"])

Name = Annotated[str, Path(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]


class Defaults(Strict):
    """Sampling where a request names none."""

    max_tokens: int | None = Field(None, ge=1, strict=True)
    temperature: Finite | None = Field(None, ge=0, le=2)
    top_p: Finite | None = Field(None, gt=0, le=1)


class AssistantRegistration(Strict):
    """Body of PUT /internal/assistants/{name}."""

    uid: str = Field(min_length=1, max_length=255)
    generation: int = Field(ge=0, lt=2**63, strict=True)
    instructions: str | None = None
    defaults: Defaults = Defaults()
    state: str = Field("ready", min_length=1, max_length=100)
    details: dict[str, Any] = Field(default_factory=dict)


class AssistantRegistered(BaseModel):
    name: str
    uid: str
    generation: int


class AssistantRemoved(BaseModel):
    removed: bool
    failed_tasks: int
    """Unfinished tasks that were ended with the code `assistant_deleted`."""


@router.get("/metrics", response_class=Response)
async def metrics(state: State) -> Response:
    """Prometheus's text format."""
    return Response(await state.queue_metrics.page(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.get("/internal/queues", response_class=sse.EventStream)
async def queues(state: State) -> sse.EventStream:
    """The queues of all assistants as server-sent events: `snapshot` `{assistants: [QUEUE, ...]}` first, then `queue` QUEUE or
    `removed` `{assistant}` for every change, whichever replica makes it, and every 5 s a `heartbeat` `{fresh}`.

    QUEUE is `{assistant, queued, running, redis_depth, oldest_seconds, workers: {name: running tasks}}`. `redis_depth` is null
    while Redis does not answer. Numbers after a heartbeat with `fresh: false` are old: PostgreSQL does not answer.
    """
    return sse.EventStream(_queues(state))


async def _queues(state: AppState) -> AsyncGenerator[str, None]:
    yield sse.RETRY
    events = state.queue_feed.events()
    try:
        async for name, data in events:
            yield sse.event(name, data)
    finally:
        await events.aclose()


@router.put("/internal/assistants/{name}")
async def put_assistant(state: State, name: Name, body: AssistantRegistration) -> AssistantRegistered:
    """Make or replace an assistant; an older generation of the same uid gets 409."""
    async with state.database.session() as session:
        await assistants.register(
            session,
            name,
            instructions=body.instructions,
            defaults=body.defaults.model_dump(exclude_none=True),
            state=body.state,
            details=body.details,
            uid=body.uid,
            generation=body.generation,
        )
    state.hub.background.spawn(state.queue_feed.publish(name))
    return AssistantRegistered(name=name, uid=body.uid, generation=body.generation)


@router.delete("/internal/assistants/{name}")
async def delete_assistant(
    state: State, name: Name, uid: Annotated[str | None, Query(max_length=255)] = None
) -> AssistantRemoved:
    """Forget an assistant and fail what waits for it; conversations stay. Doing it twice is no error."""
    async with state.database.session() as session:
        removed = await assistants.remove(session, name, uid=uid)
        ended = await withdraw(session, name) if removed else []
    await announce(state.redis, Erasure(ended=ended))
    state.hub.background.spawn(state.queue_feed.publish(name))
    return AssistantRemoved(removed=removed, failed_tasks=len(ended))
