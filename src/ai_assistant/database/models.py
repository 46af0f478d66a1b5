"""Tables of the platform. Every write to a running task is guarded by its `attempt` (see ai_assistant.tasks)."""

import datetime
import uuid
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ai_assistant.contracts import DeliveryState, TaskState


class Base(DeclarativeBase):
    """Declarative base; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy
        datetime.datetime: DateTime(timezone=True),
        uuid.UUID: Uuid(),
        str: Text(),
        dict[str, Any]: JSONB(none_as_null=True),
        list[dict[str, Any]]: JSONB(none_as_null=True),
    }


def created_now() -> Mapped[datetime.datetime]:
    return mapped_column(server_default=func.now())


class User(Base):
    """A person, named by where they came from: `local`, `key:alice`, `tg:123`, or what a service passed as user_id."""

    __tablename__ = "users"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    external_id: Mapped[str] = mapped_column(unique=True)
    settings: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime.datetime] = created_now()


class Assistant(Base):
    """What the gateway knows of an assistant: told by the operator, or by the settings on one machine."""

    __tablename__ = "assistants"

    name: Mapped[str] = mapped_column(primary_key=True)
    uid: Mapped[str | None]
    generation: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    instructions: Mapped[str | None]
    defaults: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """Sampling where a request names none: max_tokens, temperature, top_p."""
    state: Mapped[str] = mapped_column(server_default=text("'ready'"))
    """`ready`, or why answers are not coming yet, e.g. `provisioning`."""
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """Model version, context length, provisioning progress."""
    updated_at: Mapped[datetime.datetime] = created_now()


class Conversation(Base):
    """A tree of messages between one user and one assistant."""

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "user_id", "updated_at"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    assistant: Mapped[str]
    title: Mapped[str] = mapped_column(server_default=text("''"))
    created_at: Mapped[datetime.datetime] = created_now()
    updated_at: Mapped[datetime.datetime] = created_now()


class Message(Base):
    """One turn. An answer's row exists from its task's acceptance, so that later turns can name it as their parent;
    `text` is NULL until the task ends. Regenerated and edited turns are siblings with the same parent."""

    __tablename__ = "messages"
    __table_args__ = (
        CheckConstraint("role IN ('user', 'assistant')", name="role"),
        Index(None, "conversation_id", "seq"),
        Index(None, "parent_id"),
        Index(None, "author_id", postgresql_where=text("author_id IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    seq: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    conversation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"))
    role: Mapped[str]
    text: Mapped[str | None]
    completion_ids: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    """Token ids of an answer, so that the next turn's prompt is built from what the model really said."""
    tokenizer: Mapped[str | None]
    """Digest of the tokenizer that `completion_ids` belong to."""
    task_id: Mapped[uuid.UUID | None]
    created_at: Mapped[datetime.datetime] = created_now()
    author_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    """Who wrote it, where the conversation belongs to somebody else (a group)."""


class Task(Base):
    """One generation request. The row pins all that its answer depends on."""

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint(f"state IN ({', '.join(repr(str(state)) for state in TaskState)})", name="state"),
        Index(None, "principal", "idempotency_key", unique=True, postgresql_where=text("idempotency_key IS NOT NULL")),
        # The claim, the sweep and the metrics look at unfinished rows only; these stay small however long history grows.
        Index(
            "ix_tasks_unfinished_assistant", "assistant", "state", "seq", postgresql_where=text("state IN ('queued', 'running')")
        ),
        Index(
            "ix_tasks_unfinished_conversation",
            "conversation_id",
            "seq",
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        Index(None, "user_id"),
        Index(None, "author_id", postgresql_where=text("author_id IS NOT NULL")),
        Index(None, "conversation_id"),
        Index(None, "user_message_id"),
        Index("ix_tasks_recent", "assistant", "finished_at", postgresql_where=text("state = 'succeeded'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    seq: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    assistant: Mapped[str]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    principal: Mapped[str]
    """Who asked: the key's name, not the user it acted for."""
    request_id: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    fingerprint: Mapped[str | None]

    # Pinned inputs
    conversation_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("conversations.id", ondelete="SET NULL"))
    user_message_id: Mapped[uuid.UUID | None]
    answer_message_id: Mapped[uuid.UUID | None]
    messages: Mapped[list[dict[str, Any]] | None]
    """The whole message list of a request without a conversation (/v1)."""
    instructions: Mapped[str | None]
    """All of them: the assistant's, and the persona."""
    sampling: Mapped[dict[str, Any]]
    deadline: Mapped[datetime.datetime]

    # Who works on it
    state: Mapped[str] = mapped_column(server_default=text("'queued'"))
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    """Number of claims: the fence that every write is guarded by."""
    takeovers: Mapped[int] = mapped_column(server_default=text("0"))
    """Claims from a worker that was lost; a hand-over on shutdown does not count."""
    worker: Mapped[str | None]
    lease_until: Mapped[datetime.datetime | None]
    lost_at: Mapped[datetime.datetime | None]
    """When a sweep found the lease expired; a renewal clears it. Takeover is allowed a moment later."""
    cancel_requested: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))

    # What there is of the answer
    checkpoint_ids: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    checkpoint_text: Mapped[str] = mapped_column(server_default=text("''"))
    tokenizer: Mapped[str | None]
    finish_reason: Mapped[str | None]
    error: Mapped[dict[str, Any] | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    logprobs: Mapped[list[dict[str, Any]] | None]

    created_at: Mapped[datetime.datetime] = created_now()
    started_at: Mapped[datetime.datetime | None]
    first_token_at: Mapped[datetime.datetime | None]
    finished_at: Mapped[datetime.datetime | None]
    author_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    """Who asked, where the conversation belongs to somebody else (a group)."""
    persona: Mapped[str | None]
    """The part of `instructions` that the request brought, for another answer in the same voice."""


class Broadcast(Base):
    """One text for everybody whom a channel reaches. The key keeps an order that is repeated from being sent again."""

    __tablename__ = "broadcasts"
    __table_args__ = (UniqueConstraint("channel", "key", name="uq_broadcasts_channel_key"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    channel: Mapped[str]
    key: Mapped[str]
    text: Mapped[str]
    targets: Mapped[int]
    """How many it was made for."""
    created_at: Mapped[datetime.datetime] = created_now()


class Delivery(Base):
    """One answer, or one person's copy of a broadcast, that a channel (Telegram) has to deliver. While a channel sends it,
    every write is guarded by the attempt."""

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint(f"state IN ({', '.join(repr(str(state)) for state in DeliveryState)})", name="state"),
        CheckConstraint("(task_id IS NULL) <> (broadcast_id IS NULL)", name="content"),
        UniqueConstraint("task_id", "channel", name="uq_deliveries_task_id_channel"),
        UniqueConstraint("broadcast_id", "target_key", name="uq_deliveries_broadcast_id_target_key"),
        Index(None, "channel", "target_key"),
        Index("ix_deliveries_open", "channel", "target_key", "seq", postgresql_where=text("state IN ('pending', 'sending')")),
        Index(None, "user_id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    seq: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    task_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    channel: Mapped[str]
    target: Mapped[dict[str, Any]]
    """Where to, in the channel's own words."""
    target_key: Mapped[str]
    """Whom the channel's limits are for (a chat): one delivery at a time, none before a `not_before`, none once it is gone."""
    lane: Mapped[str]
    """What has an order of its own within the target (a topic): answers do not overtake each other there."""

    state: Mapped[str] = mapped_column(server_default=text("'pending'"))
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    worker: Mapped[str | None]
    lease_until: Mapped[datetime.datetime | None]
    not_before: Mapped[datetime.datetime] = created_now()
    parts: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    """The channel's message id of each part that is delivered."""
    parts_total: Mapped[int | None]
    in_flight: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """The next part is being sent: until its end is reported, it may or may not have arrived."""
    uncertain: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """The next part may have arrived already: say so when it is sent again."""
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    """In a row, for the next one's distance."""
    last_error: Mapped[str | None]
    created_at: Mapped[datetime.datetime] = created_now()
    updated_at: Mapped[datetime.datetime] = mapped_column(server_default=func.now(), onupdate=func.clock_timestamp())
    broadcast_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("broadcasts.id", ondelete="CASCADE"))
    plan: Mapped[list[dict[str, Any]] | None]
    """The parts as they were rendered at the first claim, so that nothing moves their boundaries; gone with the end."""
    preview_message_id: Mapped[int | None] = mapped_column(BigInteger)
    """A message that shows the answer while it is written, to be made its first part."""


class DeadTarget(Base):
    """Who cannot be reached any more (has blocked the bot), until something comes from there again."""

    __tablename__ = "dead_targets"
    __table_args__ = (Index(None, "user_id"),)

    channel: Mapped[str] = mapped_column(primary_key=True)
    target_key: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    reason: Mapped[str]
    created_at: Mapped[datetime.datetime] = created_now()
