"""Shapes of `/api/deliveries`, the ledger of answers that a channel delivers."""

import datetime
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from ai_assistant.gateway.schemas import Finite, Int64, Strict, TaskStatus

Channel = Literal["telegram"]
State = Literal["waiting", "pending", "sending", "delivered", "skipped", "dead"]
MessageId = Annotated[int, Field(strict=True)] | Annotated[str, Field(min_length=1, max_length=255)]
Number = Annotated[int, Field(ge=0, lt=2**31, strict=True)]

MAX_WAIT_SECONDS = 30
DAY_SECONDS = 24 * 3600
MAX_PLAN_BYTES = 2_000_000
"""Of a plan as JSON in UTF-8: a model's longest answers take a tenth of it."""
MAX_PLAN_PARTS = 1000
MAX_BROADCAST_CHARS = 16_000


class DeliveryView(BaseModel):
    """A delivery without its answer."""

    id: uuid.UUID
    task_id: uuid.UUID | None
    """None for a copy of a broadcast."""
    channel: str
    target: dict[str, Any]
    user_id: str
    author: str | None
    """Who asked, where that is not the user: in a group."""
    assistant: str | None
    """None for a copy of a broadcast."""
    state: State
    """`waiting`: the answer is being written; `pending`: it is due; `skipped`: there was nothing to deliver;
    `dead`: the target is gone, or refuses the answer."""
    attempt: int
    parts: list[int | str]
    """The channel's message ids of the parts that are delivered."""
    parts_total: int | None
    preview_message_id: int | None
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
    """What is ready and not delivered, on all pages."""


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
    task: TaskStatus | None
    """None for a copy of a broadcast."""
    text: str | None
    """The broadcast's text; None where there is a task."""
    parts: list[int | str]
    """Delivered already: go on after them."""
    parts_total: int | None
    plan: list[dict[str, Any]] | None
    """The parts as an earlier claim has planned them: send these, whatever a formatter would make of the text now."""
    preview_message_id: int | None
    """Shows the beginning of the answer already: make it the first part by an edit."""
    uncertain: bool
    """The next part may have arrived already: mark it."""


class Claimed(BaseModel):
    deliveries: list[ClaimedDelivery]


class Report(Strict):
    """What all reports have."""

    attempt: Number
    lease_seconds: Finite = Field(30, ge=1, le=600)


class TextPart(Strict):
    """A message."""

    kind: Literal["text"]
    text: Annotated[str, Field(min_length=1)]
    entities: list[dict[str, Any]] = Field(default_factory=list)
    """As the channel wants them (Telegram: MessageEntity)."""


class DocumentPart(Strict):
    """A file."""

    kind: Literal["document"]
    filename: str = Field(min_length=1, max_length=255)
    text: str
    """What is in the file."""
    caption: str = ""


Part = Annotated[TextPart | DocumentPart, Field(discriminator="kind")]


class Planned(Report):
    """After the first claim: the parts of this answer. They are kept until it is delivered. Before the first `in_flight`."""

    event: Literal["planned"]
    plan: Annotated[list[Part], Field(min_length=1, max_length=MAX_PLAN_PARTS)]


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


class Moved(Report):
    """The group has become a supergroup with another id: nothing was sent. This delivery and all that is open for the old
    group come again with the new id as their target, and the group's settings and conversations are the new one's."""

    event: Literal["moved"]
    chat_id: Int64


class Released(Report):
    """Somebody else shall deliver it, at once."""

    event: Literal["released"]


class Delivered(Report):
    """There is nothing (more) to send."""

    event: Literal["delivered"]


AnyReport = Annotated[
    Planned | InFlight | PartDone | RetryAfter | Failed | Dead | Refused | Moved | Released | Delivered,
    Field(discriminator="event"),
]


class Reported(BaseModel):
    state: State
    parts_done: int


class PreviewNote(Strict):
    """Body of PUT /api/deliveries/preview."""

    task_id: uuid.UUID
    channel: Channel
    message_id: Int64 | None
    """None: there is none any more."""


class PreviewNoted(BaseModel):
    """`state` tells whether the delivery is still to come: a preview of one that is `skipped` can be deleted."""

    state: State
    preview_message_id: int | None


class BroadcastRequest(Strict):
    """Body of POST /api/deliveries/broadcast."""

    channel: Channel
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_BROADCAST_CHARS)]
    key: str = Field(min_length=1, max_length=255)
    """The same key again makes nothing again."""


class BroadcastMade(BaseModel):
    targets: int
    """Private chats that get it; of a repeated key, those of the first time."""
    is_repeat: bool


class MoveRequest(Strict):
    """Body of POST /api/deliveries/move."""

    channel: Channel
    from_chat_id: Int64
    to_chat_id: Int64


class MovedTarget(BaseModel):
    deliveries: int
    """Open ones that go to the new chat now."""
