"""The visible text of an answer that is being generated."""

from __future__ import annotations

from collections.abc import Iterable

from ai_assistant.engine.detokenizer import Detokenizer
from ai_assistant.engine.stop_strings import StopStrings
from ai_assistant.engine.tokenizer import Tokenizer


class TextStream:
    """Token ids in, visible text out.

    A pure function of the ids: a worker that continues a crashed answer pushes the known ids again and has the same
    text, the same characters held back and the same verdict on stop strings.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Iterable[str] = ()) -> None:
        self._detokenizer = Detokenizer(tokenizer)
        self._stops = StopStrings([*stop, *tokenizer.stop_strings])
        self._parts: list[str] = []

    @property
    def stopped(self) -> bool:
        """A stop string was reached; what comes after it is never shown."""
        return self._stops.is_found

    @property
    def text(self) -> str:
        """All text shown so far."""
        return "".join(self._parts)

    def push(self, token_id: int) -> str:
        """The text that this token makes visible."""
        return self._show(self._stops.push(self._detokenizer.push(token_id)))

    def finish(self) -> str:
        """The answer is over: the text that was held back."""
        return self._show(self._stops.push(self._detokenizer.flush()) + self._stops.finish())

    def _show(self, text: str) -> str:
        if text:
            self._parts.append(text)
        return text
