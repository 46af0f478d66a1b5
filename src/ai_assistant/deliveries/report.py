"""Reporting: what becomes of a claimed delivery. `held` first, with the attempt of the claim; then one of the others.

A report may come twice, when its answer was lost: of a part that is done it changes nothing then, and an end that was told
already is refused like any other report of somebody who no longer holds the delivery.
"""

import datetime
import uuid
from typing import Any

from sqlalchemy import ColumnElement, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import DeliveryState
from ai_assistant.database.models import DeadTarget, Delivery
from ai_assistant.errors import DeliveryNotFoundError, InvalidRequestError, StaleAttemptError

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
MAX_DOUBLINGS = 10
MAX_ERROR_CHARS = 500


async def held(session: AsyncSession, delivery_id: uuid.UUID, attempt: int) -> Delivery:
    """The delivery, locked. Raises DeliveryNotFoundError, or StaleAttemptError for what another claim owns by now."""
    delivery = await session.get(Delivery, delivery_id, with_for_update=True)
    if delivery is None:
        raise DeliveryNotFoundError(f"There is no delivery {delivery_id}.")
    if delivery.attempt != attempt or delivery.state != DeliveryState.SENDING:
        raise StaleAttemptError(f"Attempt {attempt} does not hold delivery {delivery_id} any more.")
    return delivery


def keep_plan(delivery: Delivery, plan: list[dict[str, Any]], *, lease_seconds: float) -> None:
    """Its parts, from now on. What is planned stays: parts that have arrived must not come again in other pieces."""
    if delivery.plan is not None and delivery.plan != plan:
        raise InvalidRequestError("This delivery has another plan already: send the parts that the claim brings.")
    if len(plan) <= len(delivery.parts):
        raise InvalidRequestError(f"A plan of {len(plan)} parts is too short: {len(delivery.parts)} are delivered.")
    delivery.plan = plan
    delivery.parts_total = len(plan)
    renew(delivery, lease_seconds)


def begin_part(delivery: Delivery, part: int, parts_total: int, *, lease_seconds: float) -> None:
    """Part number `part` (from 0) goes out now."""
    if part != len(delivery.parts) or part >= parts_total:
        raise InvalidRequestError(f"Part {part} of {parts_total} is not the next one: {len(delivery.parts)} are delivered.")
    delivery.in_flight = True
    delivery.parts_total = parts_total
    renew(delivery, lease_seconds)


def finish_part(delivery: Delivery, part: int, message_id: int | str, *, lease_seconds: float) -> None:
    """It has arrived; with the last one, all has."""
    if part > len(delivery.parts) or delivery.parts_total is None:
        raise InvalidRequestError(f"Part {part} was not begun: {len(delivery.parts)} are delivered.")
    if part < len(delivery.parts):
        return
    delivery.parts = [*delivery.parts, message_id]
    delivery.in_flight = delivery.uncertain = False
    delivery.failures = 0
    delivery.last_error = None
    renew(delivery, lease_seconds)
    if len(delivery.parts) >= delivery.parts_total:
        end(delivery, DeliveryState.DELIVERED)


def postpone(delivery: Delivery, seconds: float) -> None:
    """The channel refuses everything for this target until then: nothing was sent, and nothing will be."""
    delivery.not_before = later(seconds)
    let_go(delivery)


def fail(delivery: Delivery, error: str, *, uncertain: bool) -> None:
    """It did not work this time; `uncertain`: the part may have arrived all the same. Next time after a growing pause."""
    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(delivery.failures, MAX_DOUBLINGS))
    delivery.not_before = later(pause)
    delivery.failures += 1
    delivery.uncertain = delivery.uncertain or uncertain
    delivery.last_error = error[:MAX_ERROR_CHARS]
    let_go(delivery)


def let_go(delivery: Delivery) -> None:
    """Give it back; the part that was begun has not arrived."""
    delivery.state = DeliveryState.PENDING
    delivery.lease_until = None
    delivery.in_flight = False


def end(delivery: Delivery, state: DeliveryState, error: str | None = None) -> None:
    delivery.state = state
    delivery.lease_until = None
    delivery.in_flight = False
    delivery.plan = None
    delivery.last_error = error[:MAX_ERROR_CHARS] if error is not None else None


async def bury(session: AsyncSession, delivery: Delivery, error: str) -> None:
    """The target is gone, for this answer and for all others until something comes from there again."""
    end(delivery, DeliveryState.DEAD, error)
    values: dict[str, Any] = {"user_id": delivery.user_id, "reason": delivery.last_error}
    statement = insert(DeadTarget).values(channel=delivery.channel, target_key=delivery.target_key, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["channel", "target_key"], set_=values))


def renew(delivery: Delivery, lease_seconds: float) -> None:
    delivery.lease_until = later(lease_seconds)


def later(seconds: float) -> Any:
    """A moment by PostgreSQL's clock, to be assigned to a column."""
    moment: ColumnElement[datetime.datetime] = func.clock_timestamp() + datetime.timedelta(seconds=seconds)
    return moment
