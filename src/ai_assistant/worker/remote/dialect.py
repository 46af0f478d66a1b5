"""How this model server wants to be asked. Pure; what it refuses once is not sent again."""

import logging
from typing import Any

logger = logging.getLogger(__name__)

EXTENSIONS = ("top_k", "min_p", "repetition_penalty")
"""Not OpenAI's; sent only where a request has them, other servers refuse them."""
NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "top_p": 1.0}
"""Values that ask for nothing."""
OPTIONAL = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", *EXTENSIONS)
SEED_BITS = 31
"""What every server can hold; ours are longer."""
MAX_STOPS = 4
"""OpenAI takes no more; the others are watched for here."""


class Dialect:
    """One per server."""

    def __init__(self) -> None:
        self._unknown: set[str] = set()

    def body(self, model: str, messages: list[dict[str, str]], sampling: dict[str, Any]) -> dict[str, Any]:
        """A streaming request for `messages` with a task's sampling parameters."""
        body: dict[str, Any] = {"model": model, "messages": messages, "stream": True}
        limit = "max_completion_tokens" if "max_tokens" in self._unknown else "max_tokens"
        wanted: dict[str, Any] = {"stream_options": {"include_usage": True}, limit: int(sampling["max_tokens"])}
        for name in OPTIONAL:
            value = sampling.get(name)
            if value is not None and value != NEUTRAL.get(name):
                wanted[name] = value % 2**SEED_BITS if name == "seed" else value
        if stops := [stop for stop in sampling.get("stop") or () if stop][:MAX_STOPS]:
            wanted["stop"] = stops
        if sampling.get("logprobs") is not None:
            wanted["logprobs"] = True
            if sampling["logprobs"]:
                wanted["top_logprobs"] = int(sampling["logprobs"])
        return body | {name: value for name, value in wanted.items() if name not in self._unknown}

    def droppable(self, body: dict[str, Any]) -> list[str]:
        """Parameters of a request that can be done without, or said in another way."""
        return [name for name in body if name not in ("model", "messages", "stream", "max_completion_tokens")]

    def forget(self, parameter: str) -> bool:
        """The server does not take it. False: that was known, so it is no use to ask again."""
        if parameter in self._unknown:
            return False
        self._unknown.add(parameter)
        if parameter not in ("stream_options", "max_tokens"):
            logger.warning("The model server does not take %s; it is left away from now on", parameter)
        return True
