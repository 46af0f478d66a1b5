"""The border between a worker and what computes its answers: the engine in this process, or a model server elsewhere."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ai_assistant.database.session import Database
from ai_assistant.metrics import WorkerMetrics
from ai_assistant.streams import StreamText
from ai_assistant.tasks.claim import ClaimedTask
from ai_assistant.worker.generation import Generation

G = TypeVar("G", bound=Generation)


@dataclass(frozen=True)
class Host:
    """What a backend finds in the worker that it computes for."""

    loop: asyncio.AbstractEventLoop
    database: Database
    metrics: WorkerMetrics
    assistant: str
    wake: Callable[[], None]
    """Some answer has new text. Called on the loop."""
    crash: Callable[[BaseException], None]
    """This process is of no use any more. Called on any thread."""

    def observe_token(self, generation: Generation, *, previous: float | None, is_first: bool) -> None:
        """Measure the token that `generation` has just got; `previous` is when it got the one before."""
        now = time.monotonic()
        task = generation.task
        if is_first and task.first_token_at is None:
            waited = task.waited_seconds + now - generation.claimed_at
            self.metrics.time_to_first_token.labels(task.assistant).observe(waited)
        elif previous is not None:
            self.metrics.inter_token_latency.labels(task.assistant).observe(now - previous)


class Backend(Protocol[G]):
    """All methods but `start`, `close`, `liveness` and `readiness` are called on the host's loop."""

    slots: int
    """Answers that can be computed at once."""

    def start(self, host: Host) -> None:
        """Get ready to compute; returns when tasks may come. Raises AssistantError."""

    def close(self) -> None:
        """End what `start` began. All answers have ended."""

    def begin(self, task: ClaimedTask) -> G:
        """An answer without text."""

    def resume(self, generation: G, before: StreamText) -> None:
        """Take over what an earlier attempt had: its checkpoint in the task, and what readers have in the stream."""

    async def answer(self, generation: G) -> None:
        """Compute until it has ended. Raises AssistantError."""

    def stop(self, generation: G) -> None:
        """Compute no more for it; once too often does no harm."""

    def liveness(self) -> str | None:
        """None: well. Otherwise why this process should be restarted."""

    def readiness(self) -> str | None:
        """None: well. Otherwise why answers have to wait."""
