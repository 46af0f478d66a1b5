"""The answer of one attempt on this process's engine. Token ids are the truth; the text is a pure function of them."""

import time
from typing import Any

from ai_assistant.contracts import FinishReason
from ai_assistant.engine.step_output import TokenOutput
from ai_assistant.engine.text_stream import TextStream
from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.streams import StreamText
from ai_assistant.tasks.claim import ClaimedTask
from ai_assistant.worker.generation import Generation


class TokenGeneration(Generation):
    """An answer that grows by token ids."""

    ids: list[int]

    def __init__(self, task: ClaimedTask, tokenizer: Tokenizer) -> None:
        super().__init__(task)
        self.tokenizer = tokenizer.digest
        self.prompt_ids: list[int] | None = None
        self.ids = []
        self.logprobs = None if task.sampling.get("logprobs") is None else []
        self._tokenizer = tokenizer
        self._stream = TextStream(tokenizer, task.sampling.get("stop") or ())

    @property
    def prompt_tokens(self) -> int | None:
        return None if self.prompt_ids is None else len(self.prompt_ids)

    @property
    def completion_tokens(self) -> int:
        return len(self.ids)

    def resume(self, ids: list[int], *, published: StreamText) -> None:
        """Take over what an earlier attempt had; `published` is in the stream already, perhaps less, perhaps something else."""
        for token_id in ids:
            self._push(token_id)
            if self._stream.stopped:
                break
        if self.text.startswith(published.text) and tuple(self.ids[: len(published.ids)]) == published.ids:
            self._mark(len(published.text), len(published.ids))
        if self._stream.stopped:
            self.end(FinishReason.STOP)

    def push(self, output: TokenOutput) -> bool:
        """Take a step's result. Returns whether the engine should stop this sequence, because a stop string was reached."""
        if self.ended.is_set():
            return False
        if output.token_id is not None:
            self.last_token_at = time.monotonic()
            self.first_token_at = self.first_token_at or self.last_token_at
            if self.logprobs is not None and output.logprob is not None:
                self.logprobs.append(self._logprob(output.token_id, output.logprob, output.top_logprobs))
            self._push(output.token_id)
        if self._stream.stopped:
            self.end(FinishReason.STOP)
            return output.finish_reason is None
        if output.finish_reason is not None:
            self.end(FinishReason(output.finish_reason.value))
        return False

    def _complete(self, reason: FinishReason) -> None:
        self._show(self._stream.finish())

    def _push(self, token_id: int) -> None:
        self.ids.append(token_id)
        self._show(self._stream.push(token_id))

    def _show(self, text: str) -> None:
        # PostgreSQL cannot store the character NUL
        self.text += text.replace("\x00", "\ufffd")

    def _logprob(self, token_id: int, logprob: float, top: tuple[tuple[int, float], ...]) -> dict[str, Any]:
        """OpenAI's shape of one token's log probabilities."""

        def one(token: int, value: float) -> dict[str, Any]:
            text = self._tokenizer.decode([token], skip_special=False).replace("\x00", "\ufffd")
            return {"token": text, "logprob": value, "bytes": list(text.encode())}

        return {**one(token_id, logprob), "top_logprobs": [one(token, value) for token, value in top]}
