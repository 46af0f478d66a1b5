"""Prompts without a tokenizer: their length by estimate, on the long side."""

from collections.abc import Mapping, Sequence

BYTES_PER_TOKEN = 3
"""Of UTF-8. Common tokenizers take 3.5 to 5 of them into a token, in English, Cyrillic and Chinese alike; code is denser."""
MARKUP_TOKENS = 8
"""Around each message."""
CHARACTERS_PER_TOKEN = 4.0
"""To count an answer whose server does not."""


class EstimatedChat:
    """Messages, as long as they may become in tokens."""

    def __init__(self, messages: Sequence[Mapping[str, str]]) -> None:
        self.messages = [dict(message) for message in messages]
        self._tokens = MARKUP_TOKENS + sum(MARKUP_TOKENS + estimate(message["content"]) for message in messages)

    def __len__(self) -> int:
        return self._tokens


class Estimator:
    """In a tokenizer's place where a chat is trimmed."""

    def encode_chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> EstimatedChat:
        del add_generation_prompt
        return EstimatedChat(messages)

    def encode_plain(self, text: str) -> range:
        return range(estimate(text))


def estimate(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
