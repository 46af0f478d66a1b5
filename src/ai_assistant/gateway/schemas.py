"""Shapes of the HTTP API (`/api`). OpenAI's shapes are in openai_schemas."""

import datetime
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]

MAX_PERSONA_CHARS = 4000

StopString = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Strict(BaseModel):
    """Unknown fields are an error: a typing mistake must not silently do nothing."""

    model_config = ConfigDict(extra="forbid")


Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)]


class TelegramTarget(Strict):
    """Where in Telegram an answer goes."""

    chat_id: Int64
    thread_id: Int64 | None = None
    reply_to: Int64 | None = None
    """Message that the answer replies to."""
    message_id: Int64 | None = None
    """Message that asks, for edits of it."""
    last_message_id: Int64 | None = None
    """Its last part, where the app has cut it."""
    language: str | None = Field(None, max_length=35)
    """Of the channel's own words around the answer."""
    is_group: bool | None = None
    """Previews there are messages that are edited, with stricter limits."""

    @property
    def key(self) -> str:
        """Telegram's limits are per chat."""
        return str(self.chat_id)

    @property
    def lane(self) -> str:
        """Answers keep their order within a topic."""
        return f"{self.chat_id}:{self.thread_id or 0}"


class DeliveryRequest(Strict):
    """Services only: who brings the answer to its reader."""

    channel: Literal["telegram"]
    target: TelegramTarget


class ChatRequest(Strict):
    """Body of POST /api/chat."""

    message: Annotated[str, StringConstraints(strict=True)] | None = None
    """What the user says; left out only with `regenerate_of`."""
    conversation_id: uuid.UUID | None = None
    assistant: str | None = Field(None, max_length=253)
    user_id: str | None = Field(None, min_length=1, max_length=255)
    regenerate_of: uuid.UUID | None = None
    edit_of: uuid.UUID | None = None
    max_tokens: int | None = Field(None, ge=1, le=1_000_000, strict=True)
    temperature: Finite | None = Field(None, ge=0, le=2)
    top_p: Finite | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, le=2**63 - 1, strict=True)
    stop: Annotated[list[StopString], Field(max_length=16)] | StopString | None = None
    delivery: DeliveryRequest | None = None
    author: str | None = Field(None, min_length=1, max_length=255)
    """Services only: the user who wrote the message, where the conversation belongs to another one (a group). Forgetting
    the author erases the message and its answers."""
    instructions: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_PERSONA_CHARS)] | None = None
    """Services only: a persona for this answer, added to the assistant's own instructions; 422 `persona_forbidden` for an
    assistant whose `details.persona` is false. Left out with `regenerate_of` or `edit_of`, it is that of the answer which is
    replaced; empty, there is none."""


class Queue(BaseModel):
    """Where a queued task stands: 1 is next."""

    position: int
    eta_seconds: float | None


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class ErrorBody(BaseModel):
    code: str
    message: str


class ErrorResponse(BaseModel):
    error: ErrorBody


class ChatAccepted(BaseModel):
    """202 of POST /api/chat."""

    task_id: uuid.UUID
    conversation_id: uuid.UUID | None
    status: str
    queue: Queue | None
    user_message_id: uuid.UUID | None
    answer_message_id: uuid.UUID | None


class TaskStatus(BaseModel):
    """GET /api/status/{task_id}; also the data of the SSE events `done` and `error`."""

    task_id: uuid.UUID
    conversation_id: uuid.UUID | None
    status: Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled", "expired"]
    text: str
    queue: Queue | None
    usage: Usage | None
    finish_reason: str | None
    error: ErrorBody | None
    created_at: datetime.datetime
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None


class MessageView(BaseModel):
    id: uuid.UUID
    parent_id: uuid.UUID | None
    role: Literal["user", "assistant"]
    text: str
    html: str | None
    """The text as safe HTML, for answers (only with `?html=true`)."""
    task_id: uuid.UUID | None
    status: str | None
    """State of the answer's task; None for user messages."""
    finish_reason: str | None
    error: ErrorBody | None
    created_at: datetime.datetime


class ConversationSummary(BaseModel):
    id: uuid.UUID
    title: str
    assistant: str
    created_at: datetime.datetime
    updated_at: datetime.datetime


class ConversationList(BaseModel):
    conversations: list[ConversationSummary]
    next: str | None
    """Pass it as `?after=` for the next page."""


class ConversationView(ConversationSummary):
    messages: list[MessageView]
    """All branches, in order of creation; follow `parent_id`."""


class ConversationPatch(Strict):
    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class UserView(BaseModel):
    id: str
    settings: dict[str, Any]
    created_at: datetime.datetime


class UserStats(BaseModel):
    """What a user has asked for: in their own conversations and in groups; of a group, all that was asked in it."""

    messages: int
    answers: int
    prompt_tokens: int
    completion_tokens: int
    conversations: int
    since: datetime.datetime
    """The first time that the user was heard of."""


class PlatformStats(BaseModel):
    """Services only: how many use the platform."""

    people: int
    groups: int
    active_people: int
    """Who have asked something within 24 h."""
    deliveries: dict[str, dict[str, int]]
    """By channel, those that are not over by state: `waiting` for their answer, `pending`, `sending`."""


class UserPatch(Strict):
    settings: dict[str, Any]


class AssistantView(BaseModel):
    name: str
    state: str
    details: dict[str, Any]


class SessionRequest(Strict):
    """Body of POST /api/session: the page trades a key for an HttpOnly cookie."""

    key: str = Field(min_length=1, max_length=1000)
