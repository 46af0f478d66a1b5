"""The delivery ledger, for services that bring answers to a channel: list, claim, report."""

import asyncio
import contextlib
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from ai_assistant.contracts import DeliveryState
from ai_assistant.database.models import Delivery
from ai_assistant.deliveries import listing, report
from ai_assistant.deliveries.claim import claim
from ai_assistant.errors import InvalidRequestError
from ai_assistant.gateway.delivery_schemas import (
    AnyReport,
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
    PartDone,
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
            case Released():
                report.let_go(delivery)
            case Delivered():
                report.end(delivery, DeliveryState.DELIVERED)
        reported = Reported(state=delivery.state, parts_done=len(delivery.parts))
    if reported.state != "sending":
        state.hub.announce_change()  # the next answer for this target may be due
    return reported


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
        found = await claim(session, channel=body.channel, worker=body.worker, limit=body.limit, lease_seconds=body.lease_seconds)
        tasks = await read_snapshots(session, [delivery.task_id for delivery in found]) if found else {}
    return Claimed(deliveries=[claimed_view(delivery, tasks[delivery.task_id]) for delivery in found])


def claimed_view(delivery: Delivery, task: TaskSnapshot) -> ClaimedDelivery:
    return ClaimedDelivery(
        id=delivery.id,
        attempt=delivery.attempt,
        target=delivery.target,
        user_id=task.user,
        task=status_of(task, task.text),
        parts=delivery.parts,
        parts_total=delivery.parts_total,
        uncertain=delivery.uncertain,
    )


def view(entry: listing.Entry) -> DeliveryView:
    delivery = entry.delivery
    return DeliveryView(
        id=delivery.id,
        task_id=delivery.task_id,
        channel=delivery.channel,
        target=delivery.target,
        user_id=entry.user,
        state=entry.state,
        attempt=delivery.attempt,
        parts=delivery.parts,
        parts_total=delivery.parts_total,
        uncertain=delivery.uncertain,
        not_before=delivery.not_before,
        last_error=delivery.last_error,
        created_at=delivery.created_at,
        updated_at=delivery.updated_at,
    )
