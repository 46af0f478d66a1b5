"""Texts at which an answer stops, found in text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Iterable


class StopStrings:
    """Passes text on, but neither a stop string nor what may still become one.

    The stop string that is complete first wins; of two that are complete at the same character, the longer. So it does
    not matter in which pieces the text arrives.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        if "" in self._stops:
            raise ValueError("A stop string must not be empty.")
        self._held = ""
        self.is_found = False

    def push(self, text: str) -> str:
        """The part of the text so far that is certain to be shown and was not returned before."""
        if self.is_found or not self._stops:
            return "" if self.is_found else text
        text = self._held + text
        matches = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if matches:
            self.is_found, self._held = True, ""
            return text[: min(matches)[1]]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """The text that was held back and did not become a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a true beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
