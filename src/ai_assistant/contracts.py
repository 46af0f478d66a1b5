"""What crosses a process border: queue and stream names, task states, finish reasons.

Nothing here does I/O. The gateway and the worker (and later the operator) agree through this file only.
"""

from enum import StrEnum
from uuid import UUID

GENERATE_TASK = "ai_assistant.generate"
"""Name of the Celery message. Its only argument, the task id, is a hint: PostgreSQL decides what runs next."""

DEFAULT_ASSISTANT = "assistant"


def queue_name(assistant: str) -> str:
    """Redis list (and Celery queue) with one wake token per queued task of `assistant`."""
    return f"assistant.{assistant}"


def stream_key(task_id: UUID) -> str:
    """Redis Stream with the text of one task."""
    return f"stream:{task_id}"


CANCEL_CHANNEL = "task.cancel"
"""Redis channel on which the gateway announces the id of a running task that should stop."""

EVENTS_CHANNEL = "task.events"
"""Redis channel with the id of a task whose state changed: wakes long polls, sweeps and the operator's hint."""


QUEUES_CHANNEL = "queue.changes"
"""Redis channel with the name of an assistant whose queue changed otherwise than by an end: accepted, claimed, handed back."""


class TaskState(StrEnum):
    """States of a task; the last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        return self not in (TaskState.QUEUED, TaskState.RUNNING)


UNFINISHED = (TaskState.QUEUED, TaskState.RUNNING)
CANCELLING = "cancelling"
"""What the HTTP status says of a running task that has been asked to stop."""


class DeliveryState(StrEnum):
    """States of an answer's delivery by a channel; the last three are final."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    """There is nothing to deliver: stopped before its first word, or the conversation was deleted."""
    DEAD = "dead"
    """It cannot be delivered: the target is gone, or refuses this answer."""


WAITING = "waiting"
"""What the HTTP API says of a pending delivery whose answer is still being written."""


class FinishReason(StrEnum):
    """Why a generation ended (OpenAI's words where OpenAI has one)."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    ERROR = "error"


class StreamEntry(StrEnum):
    """Kinds of entries in a task's stream (field `k`)."""

    TOKEN = "t"  # noqa: S105 - a kind of entry, not a secret
    FENCE = "f"
    RESET = "r"
    END = "e"
