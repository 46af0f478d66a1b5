"""OpenAI's chat completion request, as far as a text model can serve it. What would change the answer and cannot be done is
refused by name; what changes nothing is ignored."""

from typing import Annotated, Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ai_assistant.gateway.schemas import Finite, StopString

Text = Annotated[str, StringConstraints(strict=True)]

HARMLESS = {
    "metadata",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
}
"""Fields that may be there: they are about storage, billing, speed or style, not about what is asked."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "web_search_options": (),
}
"""Fields that are known, and the values (besides null) that ask for nothing that this server lacks."""

LACKS = {
    "audio": "This server answers in text only.",
    "function_call": "This server does not call functions.",
    "functions": "This server does not call functions.",
    "logit_bias": "This server does not take logit_bias.",
    "modalities": "This server answers in text only.",
    "n": "This server gives one answer per request: leave n at 1.",
    "response_format": 'This server answers in free text: response_format can only be {"type": "text"}.',
    "tool_choice": "This server does not call tools.",
    "tools": "This server does not call tools.",
    "web_search_options": "This server does not search the web.",
}


class TextPart(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: str
    text: Text | None = None


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="allow")

    role: str
    content: Text | list[TextPart] | None = None


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class ChatCompletionRequest(BaseModel):
    """Body of POST /v1/chat/completions."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(max_length=253)
    messages: list[ChatMessage] = Field(min_length=1, max_length=10_000)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000, strict=True)
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000, strict=True)
    temperature: Finite | None = Field(None, ge=0, le=2)
    top_p: Finite | None = Field(None, gt=0, le=1)
    presence_penalty: Finite | None = Field(None, ge=-2, le=2)
    frequency_penalty: Finite | None = Field(None, ge=-2, le=2)
    stop: Annotated[list[StopString], Field(max_length=16)] | StopString | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1, strict=True)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20, strict=True)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def check(self) -> None:
        """Raises RequestValidationError that names the first field which asks for what this server lacks."""
        for name, value in (self.model_extra or {}).items():
            if value is None or name in HARMLESS:
                continue
            if name not in NEUTRAL:
                raise refusal(name, "This is not a parameter of chat completions that this server knows.")
            if value not in NEUTRAL[name]:
                raise refusal(name, LACKS[name])
        if self.top_logprobs is not None and not self.logprobs:
            raise refusal("top_logprobs", "Set logprobs to true as well.")
        if self.stream and self.logprobs:
            raise refusal("logprobs", "This server gives log probabilities only without stream.")
        if self.stream_options is not None and not self.stream:
            raise refusal("stream_options", "Allowed only with stream.")

    def sampling(self) -> dict[str, Any]:
        """What the worker is asked for."""
        return {
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop,
            # seeds are not negative inside
            "seed": None if self.seed is None else self.seed % 2**63,
            "logprobs": (self.top_logprobs or 0) if self.logprobs else None,
        }

    def plain_messages(self) -> list[dict[str, Any]]:
        """Messages as role and text. Raises RequestValidationError."""
        return [plain_message(message, f"messages.{index}") for index, message in enumerate(self.messages)]


ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


def plain_message(message: ChatMessage, where: str) -> dict[str, Any]:
    extra = {name: value for name, value in (message.model_extra or {}).items() if value not in (None, [])}
    for name in ("tool_calls", "function_call", "tool_call_id"):
        if name in extra:
            raise refusal(f"{where}.{name}", "This server does not call tools.")
    if "audio" in extra:
        raise refusal(f"{where}.audio", "This server reads text only.")
    if message.role in ("tool", "function"):
        raise refusal(f"{where}.role", "This server does not call tools.")
    if message.role not in ROLES:
        raise refusal(f"{where}.role", f"A role is one of {', '.join(ROLES)}.")
    if message.content is None:
        raise refusal(f"{where}.content", "The message has no text.")
    if isinstance(message.content, str):
        text = message.content
    else:
        for index, part in enumerate(message.content):
            if part.type != "text" or part.text is None:
                kind = part.type[:40]
                raise refusal(f"{where}.content.{index}", f"This server reads text only, no {kind!r}.")
        text = "\n".join(part.text or "" for part in message.content)
    return {"role": ROLES[message.role], "content": text}


def refusal(name: str, sentence: str) -> RequestValidationError:
    """An error that names the parameter."""
    return RequestValidationError([{"type": "unsupported", "loc": ("body", *name.split(".")), "msg": sentence, "input": None}])
