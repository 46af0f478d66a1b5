"""One attempt at one task on this worker: what it has produced and what of that readers can see. No I/O."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from ai_assistant.contracts import FinishReason, StreamEntry, TaskState
from ai_assistant.errors import AssistantError
from ai_assistant.streams import Entry
from ai_assistant.tasks.claim import ClaimedTask
from ai_assistant.tasks.finish import Outcome
from ai_assistant.tasks.lease import Checkpoint

T = TypeVar("T")

STATES = {
    FinishReason.STOP: TaskState.SUCCEEDED,
    FinishReason.LENGTH: TaskState.SUCCEEDED,
    FinishReason.CANCELLED: TaskState.CANCELLED,
    FinishReason.DEADLINE: TaskState.EXPIRED,
    FinishReason.ERROR: TaskState.FAILED,
}
ERRORS = {
    FinishReason.DEADLINE: {
        "code": "deadline_exceeded",
        "message": "There was no complete answer before the deadline; the text so far was kept.",
    }
}


class Generation:
    """The answer of one attempt as it grows; a backend's own kind adds to `text` and ends it."""

    tokenizer: str
    """Digest of the tokenizer that `ids` belong to, or what stands in its place where there are none."""

    def __init__(self, task: ClaimedTask) -> None:
        self.task = task
        self.seq_id = f"{task.id}/{task.attempt}"
        self.claimed_at = time.monotonic()
        self.text = ""
        """What readers should see."""
        self.ids: list[int] | None = None
        """Token ids of the answer; None where the backend gives text only."""
        self.logprobs: list[dict[str, Any]] | None = None
        self.first_token_at: float | None = None
        """Monotonic; None also if an earlier attempt had the first token."""
        self.last_token_at: float | None = None
        self.finish_reason: FinishReason | None = None
        self.error: AssistantError | None = None
        self.is_cancelled = False
        self.is_lost = False
        """Another attempt owns the task: nothing may be written any more."""
        self.is_handed_back = False
        self.ended = asyncio.Event()
        self._published_text = 0
        self._published_ids = 0
        self._reset_at: int | None = None
        """What readers have from here on is void, and they do not know yet."""
        self._lock = asyncio.Lock()

    @property
    def prompt_tokens(self) -> int | None:
        """None as long as it is not known."""
        raise NotImplementedError

    @property
    def completion_tokens(self) -> int:
        raise NotImplementedError

    @property
    def publishing(self) -> asyncio.Lock:
        """Held while an entry of this answer is on its way, so that entries keep their order."""
        return self._lock

    def end(self, reason: FinishReason, error: AssistantError | None = None) -> None:
        """The answer is complete, or will not be."""
        if self.ended.is_set():
            return
        self._complete(reason)
        self.finish_reason = reason
        self.error = error
        self.ended.set()

    def lose(self) -> None:
        """Another attempt owns the task now."""
        self.is_lost = True
        self.ended.set()

    def leave(self) -> None:
        """The worker is shutting down: stop here, the task goes back to the queue."""
        if not self.ended.is_set():
            self.is_handed_back = True
            self.ended.set()

    def unpublished(self) -> Entry | None:
        """What readers do not see yet; None if there is nothing new."""
        if self.is_lost:
            return None
        if self._reset_at is not None:
            return Entry(self.task.attempt, StreamEntry.RESET, self._reset_at)
        if len(self.text) == self._published_text:
            return None
        return Entry(
            self.task.attempt,
            StreamEntry.TOKEN,
            self._published_text,
            self.text[self._published_text :],
            tuple((self.ids or ())[self._published_ids :]),
        )

    def mark_published(self, entry: Entry) -> None:
        """`entry` is in the stream."""
        if entry.kind is StreamEntry.RESET:
            if self._reset_at == entry.offset:
                self._reset_at = None
        elif self._reset_at is None:
            self._mark(entry.offset + len(entry.text), self._published_ids + len(entry.ids))

    def publish_again(self) -> None:
        """The stream is gone, or nobody knows what is in it: the next entry carries everything from offset 0."""
        self._mark(0, 0)
        if self._reset_at is not None:
            self._reset_at = 0

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            id=self.task.id,
            attempt=self.task.attempt,
            ids=None if self.ids is None else list(self.ids),
            text=self.text,
            tokenizer=self.tokenizer,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
        )

    def outcome(self) -> Outcome:
        """What the end writes to the database."""
        reason = self.finish_reason or FinishReason.ERROR
        error = {"code": self.error.code, "message": self.error.message} if self.error else ERRORS.get(reason)
        return Outcome(
            id=self.task.id,
            attempt=self.task.attempt,
            state=STATES[reason],
            finish_reason=reason,
            text=self.text,
            ids=None if self.ids is None else list(self.ids),
            tokenizer=self.tokenizer,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            error=error,
            logprobs=self.logprobs,
        )

    def _complete(self, reason: FinishReason) -> None:
        """Bring `text` into its last form."""

    def _void(self, offset: int) -> None:
        """What was shown from `offset` on has changed."""
        self._reset_at = min(offset, self._published_text)
        self._published_text = self._reset_at

    def _mark(self, text: int, ids: int) -> None:
        self._published_text, self._published_ids = text, ids


async def unless_ended(generation: Generation, work: Awaitable[T]) -> T | None:
    """What `work` gives; None as soon as the answer is over: PostgreSQL, an engine or a server may keep `work` for ever."""
    working = asyncio.ensure_future(work)
    ending = asyncio.ensure_future(generation.ended.wait())
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        ending.cancel()
