"""The delivery ledger, for services that bring answers to a channel: list, claim, report."""

import asyncio
import contextlib
import json
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from ai_assistant import users
from ai_assistant.contracts import DeliveryState
from ai_assistant.database.models import Delivery
from ai_assistant.deliveries import listing, report
from ai_assistant.deliveries.broadcast import broadcast, texts_of
from ai_assistant.deliveries.claim import claim
from ai_assistant.deliveries.move import move
from ai_assistant.deliveries.preview import note_preview
from ai_assistant.errors import BodyTooLargeError, InvalidRequestError
from ai_assistant.gateway.delivery_schemas import (
    MAX_PLAN_BYTES,
    AnyReport,
    BroadcastMade,
    BroadcastRequest,
    Channel,
    Claimed,
    ClaimedDelivery,
    ClaimRequest,
    Dead,
    Delivered,
    DeliveryList,
    DeliveryView,
    Failed,
    InFlight,
    Moved,
    MovedTarget,
    MoveRequest,
    PartDone,
    Planned,
    PreviewNote,
    PreviewNoted,
    Refused,
    Released,
    Reported,
    RetryAfter,
)
from ai_assistant.gateway.delivery_schemas import (
    State as StateName,
)
from ai_assistant.gateway.departure import GONE, unless_gone
from ai_assistant.gateway.dependencies import Caller, State
from ai_assistant.gateway.routes.chat import status_of
from ai_assistant.gateway.state import AppState
from ai_assistant.gateway.task_snapshot import TaskSnapshot, read_snapshots

LOOK_SECONDS = 1.0
"""Between two looks while a claim waits and hears nothing: for leases and pauses that end, and announcements that got lost."""

MAX_CURSOR_DIGITS = 18
UNCERTAIN = "uncertain"
"""In the metrics: a claim of a delivery whose next part may have arrived already."""


def require_service(principal: Caller) -> None:
    principal.require_service("Only a service key may deliver answers.")


router = APIRouter(prefix="/api/deliveries", tags=["deliveries"], dependencies=[Depends(require_service)])


@router.get("")
async def list_deliveries(
    state: State,
    channel: Channel,
    state_name: Annotated[StateName | None, Query(alias="state")] = None,
    target: Annotated[str | None, Query(max_length=255, description="Only those to this target (Telegram: chat id).")] = None,
    after: Annotated[str | None, Query(max_length=MAX_CURSOR_DIGITS, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> DeliveryList:
    """What a channel has to deliver and what became of it, in the order of acceptance."""
    if after is not None and not (after.isascii() and after.isdigit()):
        raise InvalidRequestError("`after` is not the `next` of an earlier page.")
    async with state.database.session() as session:
        position = int(after or 0)
        found = await listing.list_page(session, channel, state=state_name, target_key=target, after=position, limit=limit + 1)
        pending = await listing.pending_count(session, channel)
    page = found[:limit]
    following = str(page[-1].delivery.seq) if len(found) > limit else None
    return DeliveryList(deliveries=[view(item) for item in page], next=following, pending=pending)


@router.post("/claim", response_model=Claimed)
async def claim_deliveries(state: State, request: Request, body: ClaimRequest) -> Claimed | Response:
    """Take answers that are due, in order and one per target. They come again when nothing is reported for `lease_seconds`."""
    # nothing may be claimed for a client that has gone: its answers would wait for the lease to expire
    claimed = await unless_gone(request, wait_for_some(state, body)) if body.wait else (await claim_some(state, body),)
    return Response(status_code=GONE) if claimed is None else claimed[0]


@router.post("/{delivery_id}/report")
async def report_delivery(state: State, delivery_id: uuid.UUID, body: AnyReport) -> Reported:
    """Tell what became of a claimed delivery. 409: another claim holds it by now, or it is over."""
    async with state.database.session() as session:
        delivery = await report.held(session, delivery_id, body.attempt)
        match body:
            case Planned():
                report.keep_plan(delivery, plan_of(body), lease_seconds=body.lease_seconds)
            case InFlight():
                report.begin_part(delivery, body.part, body.parts_total, lease_seconds=body.lease_seconds)
            case PartDone():
                report.finish_part(delivery, body.part, body.message_id, lease_seconds=body.lease_seconds)
            case RetryAfter():
                report.postpone(delivery, body.seconds)
            case Failed():
                report.fail(delivery, body.error, uncertain=body.uncertain)
            case Dead():
                await report.bury(session, delivery, body.error)
            case Refused():
                report.end(delivery, DeliveryState.DEAD, body.error)
            case Moved():
                report.let_go(delivery)
                await session.flush()
                await move(session, delivery.channel, int(delivery.target_key), body.chat_id)
            case Released():
                report.let_go(delivery)
            case Delivered():
                report.end(delivery, DeliveryState.DELIVERED)
        channel = delivery.channel
        reported = Reported(state=delivery.state, parts_done=len(delivery.parts))
    count(state, channel, reported.state)
    if reported.state != "sending":
        state.hub.announce_change()  # the next answer for this target may be due
    return reported


@router.put("/preview")
async def put_preview(state: State, body: PreviewNote) -> PreviewNoted:
    """Note the message that shows the beginning of an answer: it becomes the answer's first part, also after a restart."""
    async with state.database.session() as session:
        told = await note_preview(session, body.channel, body.task_id, body.message_id)
    return PreviewNoted(state=told, preview_message_id=body.message_id)


@router.post("/broadcast")
async def make_broadcast(state: State, body: BroadcastRequest) -> BroadcastMade:
    """Deliver a text to every private chat that the channel can reach, after all answers."""
    async with state.database.session() as session:
        made = await broadcast(session, channel=body.channel, message=body.text, key=body.key)
    state.hub.announce_change()
    return BroadcastMade(targets=made.targets, is_repeat=made.is_repeat)


@router.post("/move")
async def move_target(state: State, body: MoveRequest) -> MovedTarget:
    """A group has another id now: what is open for it, its settings and its conversations follow. Twice is no error."""
    async with state.database.session() as session:
        moved = await move(session, body.channel, body.from_chat_id, body.to_chat_id)
    state.hub.announce_change()
    return MovedTarget(deliveries=moved)


async def wait_for_some(state: AppState, body: ClaimRequest) -> Claimed:
    """Claims as soon as there is something, or returns nothing in the end."""
    give_up_at = asyncio.get_running_loop().time() + body.wait
    while True:
        change = state.hub.next_change
        claimed = await claim_some(state, body)
        left = give_up_at - asyncio.get_running_loop().time()
        if claimed.deliveries or left <= 0 or state.hub.is_stopping:
            return claimed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(LOOK_SECONDS, left)):
                await change.wait()


async def claim_some(state: AppState, body: ClaimRequest) -> Claimed:
    async with state.database.session() as session:
        took = await claim(session, channel=body.channel, worker=body.worker, limit=body.limit, lease_seconds=body.lease_seconds)
        found = took.deliveries
        tasks = await read_snapshots(session, [item.task_id for item in found if item.task_id]) if found else {}
        texts = await texts_of(session, {item.broadcast_id for item in found if item.broadcast_id})
        names = await users.names(session, {item.user_id for item in found}) if found else {}
    if took.died:
        state.metrics.delivery_outcomes.labels(body.channel, DeliveryState.DEAD.value).inc(took.died)
    for item in found:
        if item.uncertain:
            state.metrics.delivery_outcomes.labels(body.channel, UNCERTAIN).inc()
    return Claimed(
        deliveries=[
            claimed_view(
                item,
                names[item.user_id],
                tasks[item.task_id] if item.task_id else None,
                texts[item.broadcast_id] if item.broadcast_id else None,
            )
            for item in found
        ]
    )


def claimed_view(delivery: Delivery, user: str, task: TaskSnapshot | None, text: str | None) -> ClaimedDelivery:
    return ClaimedDelivery(
        id=delivery.id,
        attempt=delivery.attempt,
        target=delivery.target,
        user_id=user,
        task=status_of(task, task.text) if task else None,
        text=text,
        parts=delivery.parts,
        parts_total=delivery.parts_total,
        plan=delivery.plan,
        preview_message_id=delivery.preview_message_id,
        uncertain=delivery.uncertain,
    )


def plan_of(body: Planned) -> list[dict[str, Any]]:
    """As it is kept. Raises BodyTooLargeError."""
    plan = [part.model_dump(mode="json") for part in body.plan]
    if len(json.dumps(plan, ensure_ascii=False).encode()) > MAX_PLAN_BYTES:
        raise BodyTooLargeError(f"A plan may have {MAX_PLAN_BYTES} bytes; deliver this answer without one.")
    return plan


def count(state: AppState, channel: str, reached: str) -> None:
    """Ends go into the metrics."""
    if reached in (DeliveryState.DELIVERED, DeliveryState.DEAD):
        state.metrics.delivery_outcomes.labels(channel, reached).inc()


def view(entry: listing.Entry) -> DeliveryView:
    delivery = entry.delivery
    return DeliveryView(
        id=delivery.id,
        task_id=delivery.task_id,
        channel=delivery.channel,
        target=delivery.target,
        user_id=entry.user,
        author=entry.author,
        assistant=entry.assistant,
        state=entry.state,
        attempt=delivery.attempt,
        parts=delivery.parts,
        parts_total=delivery.parts_total,
        preview_message_id=delivery.preview_message_id,
        uncertain=delivery.uncertain,
        not_before=delivery.not_before,
        last_error=delivery.last_error,
        created_at=delivery.created_at,
        updated_at=delivery.updated_at,
    )
