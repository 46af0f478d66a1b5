"""One answer on the terminal while it is written."""

import re
import sys
from typing import Any, TextIO

from ai_assistant.terminal.gateway_client import Away, Ended, Reset, StreamEvent, Text, Waiting

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CLEAR_LINE = "\r\x1b[K"


class AnswerView:
    """Shows stream events; keeps the whole text. On a terminal the text appears as it comes, else once, at its end."""

    def __init__(self, output: TextIO | None = None, errors: TextIO | None = None) -> None:
        self._output = output or sys.stdout
        self._errors = errors or sys.stderr
        self._live = self._output.isatty()
        self._has_note = False
        self.text = ""

    def take(self, event: StreamEvent) -> None:
        if isinstance(event, Waiting):
            eta = f", about {event.eta_seconds:.0f} s" if event.eta_seconds is not None else ""
            self._note(f"waiting, number {event.position} in the queue{eta}")
        elif isinstance(event, Away):
            self._note("the gateway is away, trying again…")
        elif isinstance(event, Text):
            self._add(event.text)
        elif isinstance(event, Reset):
            self._reset(event.offset)
        elif isinstance(event, Ended):
            self.end(event.status)

    def end(self, status: dict[str, Any]) -> None:
        """Show the rest of the text and how the task ended."""
        whole = status.get("text")
        if isinstance(whole, str) and whole != self.text:
            if not whole.startswith(self.text):
                self._reset(0)
            self._add(whole[len(self.text) :])
        self._clear_note()
        if self._live:
            self._write("\n")
        elif self.text:
            self._write(f"{safe(self.text)}\n")
        if remark := ending(status):
            self._errors.write(f"[{remark}]\n")
            self._errors.flush()

    def _add(self, text: str) -> None:
        self._clear_note()
        self.text += text
        if self._live:
            self._write(safe(text))

    def _reset(self, offset: int) -> None:
        self._clear_note()
        self.text = self.text[:offset]
        if self._live:
            self._write(f"\n[the answer is written anew]\n{safe(self.text)}")

    def _note(self, text: str) -> None:
        if self._errors.isatty():
            self._errors.write(f"{_CLEAR_LINE if self._has_note else ''}[{text}]")
            self._errors.flush()
            self._has_note = True

    def _clear_note(self) -> None:
        if self._has_note:
            self._errors.write(_CLEAR_LINE)
            self._errors.flush()
            self._has_note = False

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()


def safe(text: str) -> str:
    """Without control characters: a model must not be able to steer the terminal."""
    return _CONTROL.sub("", text)


def ending(status: dict[str, Any]) -> str | None:
    """What a person should know about how a task ended; None for a plain success."""
    state = status.get("status")
    if state == "succeeded":
        return "cut at the limit of tokens" if status.get("finish_reason") == "length" else None
    if state in ("cancelled", "cancelling"):
        return "stopped"
    error = status.get("error")
    if isinstance(error, dict):
        return f"error: {error.get('message')}"
    return "out of time" if state == "expired" else f"ended: {state or 'deleted'}"
