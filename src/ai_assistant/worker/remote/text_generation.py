"""The answer of one attempt by a model server: pieces of text, perhaps asked for more than once. No I/O."""

import time

from ai_assistant.contracts import FinishReason
from ai_assistant.engine.stop_strings import StopStrings
from ai_assistant.errors import AssistantError
from ai_assistant.streams import StreamText
from ai_assistant.tasks.claim import ClaimedTask
from ai_assistant.worker.generation import Generation
from ai_assistant.worker.remote.prompt import CHARACTERS_PER_TOKEN
from ai_assistant.worker.remote.reply import Piece, Usage

TEXT_ONLY = "remote"
"""In place of a tokenizer's digest: there are no ids."""


class TextGeneration(Generation):
    """An answer that grows by text.

    After a restart, what readers have stays as long as the new answer says the same. Where it says something else they are reset
    to that place, so what they have in the end is the last answer and nothing of the others. An answer that is cut short keeps
    the longer text.
    """

    tokenizer = TEXT_ONLY

    def __init__(self, task: ClaimedTask) -> None:
        super().__init__(task)
        self.prompt_estimate: int | None = None
        self.waits_for: AssistantError | None = None
        """Why there is no answer yet, while the server is away."""
        self._stop = tuple(stop for stop in task.sampling.get("stop") or () if stop)
        self.restart()

    def restart(self) -> None:
        """The answer begins anew."""
        self._answer = ""
        self._is_catching_up = bool(self.text)
        self._stops = StopStrings(self._stop)
        self._half = ""
        self._pieces = 0
        self._usage: Usage | None = None
        self.logprobs = None

    def resume(self, before: StreamText) -> None:
        """Start from what an earlier attempt showed."""
        self.text = max(self.task.checkpoint_text, before.text, key=len)
        self._is_catching_up = bool(self.text)
        if self.text.startswith(before.text):
            self._mark(len(before.text), 0)
        else:
            self._void(0)

    @property
    def prompt_tokens(self) -> int | None:
        return self._usage.prompt_tokens if self._usage else self.prompt_estimate

    @property
    def completion_tokens(self) -> int:
        """As the server counts; else by estimate. Most servers send a token at a time."""
        return self._usage.completion_tokens if self._usage else max(self._pieces, round(len(self.text) / CHARACTERS_PER_TOKEN))

    def push(self, piece: Piece) -> bool:
        """Take what the server said. Returns whether that is enough: a stop string was reached, or nobody waits any more."""
        if self.ended.is_set():
            return True
        self._usage = piece.usage or self._usage
        if piece.logprobs and self.task.sampling.get("logprobs") is not None:
            self.logprobs = (self.logprobs or []) + list(piece.logprobs)
        if piece.text:
            self.last_token_at = time.monotonic()
            self.first_token_at = self.first_token_at or self.last_token_at
            self._pieces += 1
            self._show(self._stops.push(self._clean(piece.text)))
        if self._stops.is_found:
            self.end(FinishReason.STOP)
        return self._stops.is_found

    def _complete(self, reason: FinishReason) -> None:
        half, self._half = self._half, ""
        self._show(self._stops.push("\ufffd" if half else "") + self._stops.finish())
        if self._is_catching_up and reason in (FinishReason.STOP, FinishReason.LENGTH):
            self._replace()

    def _show(self, text: str) -> None:
        self._answer += text
        if not self._is_catching_up:
            self.text = self._answer
        elif not self.text.startswith(self._answer):
            self._replace()

    def _replace(self) -> None:
        """The new answer takes the place of what was shown."""
        same = common_prefix(self.text, self._answer)
        if same < len(self.text):
            self._void(same)
        self.text, self._is_catching_up = self._answer, False

    def _clean(self, text: str) -> str:
        """Text that can be stored: servers send the halves of a character apart, and PostgreSQL has no NUL."""
        text, self._half = self._half + text, ""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def common_prefix(one: str, other: str) -> int:
    """Length of the common beginning."""
    return next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
