"""What a reader of a task's text is told. Offsets count Unicode code points and are the public event ids."""

from dataclasses import dataclass

from ai_assistant.gateway.task_snapshot import TaskSnapshot


@dataclass(frozen=True)
class QueueEvent:
    """The task waits; 1 is next."""

    position: int
    eta_seconds: float | None


@dataclass(frozen=True)
class TokenEvent:
    """More text, from `offset` on."""

    offset: int
    text: str


@dataclass(frozen=True)
class ResetEvent:
    """What was told from `offset` on is void; other text follows."""

    offset: int


@dataclass(frozen=True)
class EndEvent:
    """The task is over and all its text has been told. Without a task: it was deleted."""

    task: TaskSnapshot | None


@dataclass(frozen=True)
class IdleEvent:
    """Nothing happened for a while; says that the connection lives."""


Event = QueueEvent | TokenEvent | ResetEvent | EndEvent | IdleEvent
