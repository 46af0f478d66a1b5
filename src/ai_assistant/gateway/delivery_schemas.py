"""Shapes of `/api/deliveries`, the ledger of answers that a channel delivers."""

import datetime
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from ai_assistant.gateway.schemas import Finite, Strict, TaskStatus

Channel = Literal["telegram"]
State = Literal["waiting", "pending", "sending", "delivered", "skipped", "dead"]
MessageId = Annotated[int, Field(strict=True)] | Annotated[str, Field(min_length=1, max_length=255)]
Number = Annotated[int, Field(ge=0, lt=2**31, strict=True)]

MAX_WAIT_SECONDS = 30
DAY_SECONDS = 24 * 3600


class DeliveryView(BaseModel):
    """A delivery without its answer."""

    id: uuid.UUID
    task_id: uuid.UUID
    channel: str
    target: dict[str, Any]
    user_id: str
    state: State
    """`waiting`: the answer is being written; `pending`: it is due; `skipped`: there was nothing to deliver;
    `dead`: the target is gone, or refuses the answer."""
    attempt: int
    parts: list[int | str]
    """The channel's message ids of the parts that are delivered."""
    parts_total: int | None
    uncertain: bool
    not_before: datetime.datetime
    last_error: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


class DeliveryList(BaseModel):
    deliveries: list[DeliveryView]
    next: str | None
    """Pass it as `?after=` for the next page."""
    pending: int
    """Answers of the channel that are written and not delivered, on all pages."""


class ClaimRequest(Strict):
    """Body of POST /api/deliveries/claim."""

    channel: Channel
    worker: str = Field(min_length=1, max_length=255)
    limit: int = Field(1, ge=1, le=100, strict=True)
    wait: Finite = Field(0, ge=0, le=MAX_WAIT_SECONDS)
    """Seconds to wait for something to deliver; returns early."""
    lease_seconds: Finite = Field(30, ge=1, le=600)
    """How long the deliveries are held after the last report."""


class ClaimedDelivery(BaseModel):
    """All that a channel needs in order to deliver an answer."""

    id: uuid.UUID
    attempt: int
    """To be sent with every report."""
    target: dict[str, Any]
    user_id: str
    task: TaskStatus
    parts: list[int | str]
    """Delivered already: go on after them."""
    parts_total: int | None
    uncertain: bool
    """The next part may have arrived already: mark it."""


class Claimed(BaseModel):
    deliveries: list[ClaimedDelivery]


class Report(Strict):
    """What all reports have."""

    attempt: Number
    lease_seconds: Finite = Field(30, ge=1, le=600)


class InFlight(Report):
    """Before a part is sent."""

    event: Literal["in_flight"]
    part: Number
    """From 0."""
    parts_total: int = Field(ge=1, lt=2**31, strict=True)


class PartDone(Report):
    """A part has arrived; the last one ends the delivery."""

    event: Literal["part_done"]
    part: Number
    message_id: MessageId


class RetryAfter(Report):
    """The channel's flood control: nothing goes to this target for so long."""

    event: Literal["retry_after"]
    seconds: Finite = Field(ge=0, le=DAY_SECONDS)


class Failed(Report):
    """It did not work; the delivery comes again after a pause that grows."""

    event: Literal["failed"]
    error: str = Field(max_length=10_000)
    uncertain: bool = False
    """The part may have arrived all the same."""


class Dead(Report):
    """The target is gone (blocked, deleted): this answer and later ones are not delivered, until something comes from there."""

    event: Literal["dead"]
    error: str = Field(max_length=10_000)


class Refused(Report):
    """The channel will never take this answer; the target itself is fine."""

    event: Literal["refused"]
    error: str = Field(max_length=10_000)


class Released(Report):
    """Somebody else shall deliver it, at once."""

    event: Literal["released"]


class Delivered(Report):
    """There is nothing (more) to send."""

    event: Literal["delivered"]


AnyReport = Annotated[
    InFlight | PartDone | RetryAfter | Failed | Dead | Refused | Released | Delivered, Field(discriminator="event")
]


class Reported(BaseModel):
    state: State
    parts_done: int
