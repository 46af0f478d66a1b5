"""Token ids to text, one token at a time, never showing half a character."""

from __future__ import annotations

import codecs

from ai_assistant.engine.tokenizer import Tokenizer


class Detokenizer:
    """A pure function of the ids pushed so far; special tokens have no text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes_of = tokenizer.bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._is_at_start = tokenizer.bytes_of.strips_first_space

    def push(self, token_id: int) -> str:
        """The text that this token completes; bytes of an unfinished character wait for the rest."""
        return self._strip(self._decoder.decode(self._bytes_of[token_id]))

    def flush(self) -> str:
        """What is left at the end: U+FFFD if the last character was never finished."""
        return self._strip(self._decoder.decode(b"", final=True))

    def _strip(self, text: str) -> str:
        if self._is_at_start and text:
            self._is_at_start = False
            return text.removeprefix(" ")
        return text
