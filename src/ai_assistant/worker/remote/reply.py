"""What a model server says in a chat completion: chunks of a stream, or one whole object. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from ai_assistant.contracts import FinishReason
from ai_assistant.errors import AnswerWithheldError, AssistantError, RemoteRefusedError
from ai_assistant.worker.remote.failures import broken, of_error

LENGTH = ("length", "max_tokens", "model_length", "max_output_tokens")
TOOLS = ("tool_calls", "function_call", "tool_use")
BROKEN = ("error", "abort", "cancelled", "insufficient_system_resource")


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Piece:
    """One message of the server. Thoughts (`reasoning_content`) are a sign of life and not part of the answer."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    logprobs: tuple[dict[str, Any], ...] = ()
    is_thought: bool = False

    @property
    def is_progress(self) -> bool:
        """A token has come. The role of who speaks is none, and comes long before the first."""
        return bool(self.text) or self.is_thought or self.finish_reason is not None


def parse_piece(data: str | bytes, secret: str | None = None) -> Piece:
    """A chunk of a stream, or a whole completion. Raises FailureError."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise broken("it sent something that is not JSON") from error
    if not isinstance(message, dict):
        raise broken("it sent something that is not a chat completion")
    if message.get("error"):
        fault = message["error"] if isinstance(message["error"], dict) else {"message": str(message["error"])}
        raise of_error(fault, status_of(fault), secret=secret)
    choices = message.get("choices")
    if choices is None and "usage" not in message:
        raise broken("it sent something that is not a chat completion")
    usage = parse_usage(message.get("usage"))
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    body = choice.get("delta") or choice.get("message") or {}
    if not isinstance(body, dict):
        raise broken("it sent something that is not a chat completion")
    reason = choice.get("finish_reason")
    return Piece(
        text=text_of(body.get("content")),
        finish_reason=str(reason) if reason else None,
        usage=usage,
        logprobs=parse_logprobs(choice.get("logprobs")),
        is_thought=bool(body.get("reasoning_content") or body.get("reasoning")),
    )


def text_of(content: Any) -> str:
    """Text as a string, or as a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return ""


def parse_usage(value: Any) -> Usage | None:
    """None for what is missing or makes no sense."""
    if not isinstance(value, dict):
        return None
    counts = (value.get("prompt_tokens"), value.get("completion_tokens"))
    if not all(isinstance(count, int) and 0 <= count < 2**31 for count in counts):
        return None
    return Usage(*counts)  # type: ignore[arg-type]


def parse_logprobs(value: Any) -> tuple[dict[str, Any], ...]:
    """In OpenAI's shape already."""
    content = value.get("content") if isinstance(value, dict) else None
    return tuple(item for item in content if isinstance(item, dict) and "token" in item) if isinstance(content, list) else ()


def status_of(error: dict[str, Any]) -> int:
    """The HTTP status that an error within a stream would have had."""
    for name in ("status", "code", "status_code"):
        value = error.get(name)
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return 500


def ending(reason: str | None) -> tuple[FinishReason, AssistantError | None]:
    """What a server's finish reason means here. Raises FailureError for an answer that should be asked for again."""
    if reason in LENGTH:
        return FinishReason.LENGTH, None
    if reason == "content_filter":
        return FinishReason.ERROR, AnswerWithheldError()
    if reason in TOOLS:
        sentence = "The model wanted to call a tool, and this assistant has none; put the question differently."
        return FinishReason.ERROR, RemoteRefusedError(sentence)
    if reason in BROKEN:
        raise broken(f"it ended with `{reason}`")
    return FinishReason.STOP, None
