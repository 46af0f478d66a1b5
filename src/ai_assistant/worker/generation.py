"""One attempt at one task on this worker: what it has produced and what of that readers can see. No I/O."""

import asyncio
import time
from typing import Any

from ai_assistant.contracts import FinishReason, StreamEntry, TaskState
from ai_assistant.engine.step_output import TokenOutput
from ai_assistant.engine.text_stream import TextStream
from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.errors import AssistantError
from ai_assistant.streams import Entry, StreamText
from ai_assistant.tasks.claim import ClaimedTask
from ai_assistant.tasks.finish import Outcome
from ai_assistant.tasks.lease import Checkpoint

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
    """The answer of one attempt as it grows. Token ids are the truth; the text is a pure function of them."""

    def __init__(self, task: ClaimedTask, tokenizer: Tokenizer) -> None:
        self.task = task
        self.seq_id = f"{task.id}/{task.attempt}"
        self.claimed_at = time.monotonic()
        self.prompt_ids: list[int] | None = None
        self.ids: list[int] = []
        self.text = ""
        self.logprobs: list[dict[str, Any]] | None = None if task.sampling.get("logprobs") is None else []
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
        self._tokenizer = tokenizer
        self._stream = TextStream(tokenizer, task.sampling.get("stop") or ())
        self._published_text = 0
        self._published_ids = 0
        self._lock = asyncio.Lock()

    @property
    def publishing(self) -> asyncio.Lock:
        """Held while an entry of this answer is on its way, so that entries keep their order."""
        return self._lock

    def resume(self, ids: list[int], *, published: StreamText) -> None:
        """Take over what an earlier attempt had; `published` is in the stream already, perhaps less, perhaps something else."""
        for token_id in ids:
            self._push(token_id)
            if self._stream.stopped:
                break
        if self.text.startswith(published.text) and tuple(self.ids[: len(published.ids)]) == published.ids:
            self._mark(len(published.text), len(published.ids))
        if self._stream.stopped:
            self.end(FinishReason.STOP)

    def push(self, output: TokenOutput) -> bool:
        """Take a step's result. Returns whether the engine should stop this sequence, because a stop string was reached."""
        if self.ended.is_set():
            return False
        if output.token_id is not None:
            self.last_token_at = time.monotonic()
            self.first_token_at = self.first_token_at or self.last_token_at
            if self.logprobs is not None and output.logprob is not None:
                self.logprobs.append(self._logprob(output.token_id, output.logprob, output.top_logprobs))
            self._push(output.token_id)
        if self._stream.stopped:
            self.end(FinishReason.STOP)
            return output.finish_reason is None
        if output.finish_reason is not None:
            self.end(FinishReason(output.finish_reason.value))
        return False

    def end(self, reason: FinishReason, error: AssistantError | None = None) -> None:
        """The answer is complete, or will not be."""
        if self.ended.is_set():
            return
        self._show(self._stream.finish())
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
        """What readers do not see yet; None if there is no new text."""
        if self.is_lost or len(self.text) == self._published_text:
            return None
        return Entry(
            self.task.attempt,
            StreamEntry.TOKEN,
            self._published_text,
            self.text[self._published_text :],
            tuple(self.ids[self._published_ids :]),
        )

    def mark_published(self, entry: Entry) -> None:
        """`entry` is in the stream."""
        self._mark(entry.offset + len(entry.text), self._published_ids + len(entry.ids))

    def publish_again(self) -> None:
        """The stream is gone, or nobody knows what is in it: the next entry carries everything from offset 0."""
        self._mark(0, 0)

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            id=self.task.id,
            attempt=self.task.attempt,
            ids=list(self.ids),
            text=self.text,
            tokenizer=self._tokenizer.digest,
            prompt_tokens=None if self.prompt_ids is None else len(self.prompt_ids),
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
            ids=list(self.ids),
            tokenizer=self._tokenizer.digest,
            prompt_tokens=None if self.prompt_ids is None else len(self.prompt_ids),
            error=error,
            logprobs=self.logprobs,
        )

    def _push(self, token_id: int) -> None:
        self.ids.append(token_id)
        self._show(self._stream.push(token_id))

    def _show(self, text: str) -> None:
        # PostgreSQL cannot store the character NUL
        self.text += text.replace("\x00", "\ufffd")

    def _mark(self, text: int, ids: int) -> None:
        self._published_text, self._published_ids = text, ids

    def _logprob(self, token_id: int, logprob: float, top: tuple[tuple[int, float], ...]) -> dict[str, Any]:
        """OpenAI's shape of one token's log probabilities."""

        def one(token: int, value: float) -> dict[str, Any]:
            text = self._tokenizer.decode([token], skip_special=False).replace("\x00", "\ufffd")
            return {"token": text, "logprob": value, "bytes": list(text.encode())}

        return {**one(token_id, logprob), "top_logprobs": [one(token, value) for token, value in top]}
