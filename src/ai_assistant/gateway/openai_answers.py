"""OpenAI's answers: completion objects, stream chunks, and what a task's end means to their clients. Pure."""

from dataclasses import dataclass
from typing import Any

from ai_assistant.contracts import FinishReason, TaskState
from ai_assistant.errors import AssistantError, PromptTooLongError
from ai_assistant.gateway.error_handlers import openai_error
from ai_assistant.gateway.task_snapshot import TaskSnapshot


class GenerationFailedError(AssistantError):
    """The answer could not be generated; ask again."""

    code = "generation_failed"


class WorkerLostError(AssistantError):
    """The workers that answered this were lost; ask again."""

    code = "worker_lost"
    status = 503
    retry_after = 5


class DeadlineExceededError(AssistantError):
    """There was no complete answer before the deadline."""

    code = "deadline_exceeded"
    status = 504


class TaskCancelledError(AssistantError):
    """The answer was cancelled elsewhere."""

    code = "cancelled"
    status = 400


class ShuttingDownError(AssistantError):
    """This gateway is being restarted; ask again."""

    code = "shutting_down"
    status = 503
    retry_after = 1


class AnswerChangedError(AssistantError):
    """A part of the answer that was sent already had to be generated again; ask again."""

    code = "answer_changed"
    status = 503


def require_success(task: TaskSnapshot | None) -> TaskSnapshot:
    """The task that is over, if it has an answer; else raises what that means to a client who waits for one."""
    if task is None or task.state is TaskState.CANCELLED:
        raise TaskCancelledError
    if task.state is TaskState.SUCCEEDED:
        return task
    error = task.error or {}
    if task.state is TaskState.EXPIRED:
        raise DeadlineExceededError(error.get("message"))
    kinds: dict[str, type[AssistantError]] = {kind.code: kind for kind in (PromptTooLongError, WorkerLostError)}
    raise kinds.get(error.get("code", ""), GenerationFailedError)(error.get("message"))


@dataclass(frozen=True)
class Answer:
    """Shapes of one task's answer."""

    task: TaskSnapshot
    """As it was accepted."""
    include_usage: bool = False

    def completion(self, final: TaskSnapshot) -> dict[str, Any]:
        """The answer to a request without stream."""
        logprobs = None
        if final.logprobs is not None:
            logprobs = {"content": final.logprobs, "refusal": None}
        message: dict[str, Any] = {"role": "assistant", "content": final.text, "refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish_reason(final)}
        return self._head("chat.completion") | {"choices": [choice], "usage": usage(final)}

    def first(self) -> dict[str, Any]:
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def content(self, text: str) -> dict[str, Any]:
        return self._chunk({"content": text})

    def last(self, final: TaskSnapshot) -> list[dict[str, Any]]:
        """The finish reason, and the usage for those who asked for it."""
        chunks = [self._chunk({}, finish_reason(final))]
        if self.include_usage:
            chunks.append(self._head("chat.completion.chunk") | {"choices": [], "usage": usage(final)})
        return chunks

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk = self._head("chat.completion.chunk") | {"choices": [choice]}
        return chunk | {"usage": None} if self.include_usage else chunk

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.task.id}",
            "object": kind,
            "created": int(self.task.created_at.timestamp()),
            "model": self.task.assistant,
        }


def error_chunk(error: AssistantError) -> dict[str, Any]:
    """An error after the first byte, in OpenAI's way."""
    return openai_error(error.status, error.code, error.message)[1]


def finish_reason(task: TaskSnapshot) -> str:
    return "length" if task.finish_reason == FinishReason.LENGTH else "stop"


def usage(task: TaskSnapshot) -> dict[str, int]:
    prompt, completion = task.prompt_tokens or 0, task.completion_tokens or 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
