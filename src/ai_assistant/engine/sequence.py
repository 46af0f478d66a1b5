"""One request inside the engine: its tokens so far and how far the model has read them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

from ai_assistant.engine.sampling import SamplingParams


class FinishReason(StrEnum):
    """Why a sequence ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"


class Sequence:
    """Prompt, answer so far, and `num_cached`: how many of these tokens have their keys and values in the sequence's row.

    A sequence that continues an earlier run gets the known part of the answer as `completion_ids`. The engine reads the
    prompt in chunks and then the known part token by token, exactly as an undisturbed run did: the same tokens computed
    several at a time give slightly different numbers (with int8 enough to change what is sampled next), while one token
    at a time gives the same numbers in any batch.
    """

    def __init__(
        self,
        seq_id: str,
        prompt_ids: Iterable[int],
        sampling: SamplingParams,
        *,
        completion_ids: Iterable[int] = (),
        deadline: float | None = None,
    ) -> None:
        self.seq_id = seq_id
        self.prompt_ids = list(prompt_ids)
        self.completion_ids = list(completion_ids)
        self.sampling = sampling
        self.deadline = deadline
        self.num_cached = 0
        self.arrival = 0
        self.is_cancelled = False

    def __repr__(self) -> str:
        return f"Sequence({self.seq_id!r}, {len(self.prompt_ids)}+{len(self.completion_ids)}, {self.num_cached} cached)"

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def needs_token(self) -> bool:
        """The model has read all that is known: its logits choose the next token."""
        return self.num_cached == self.num_tokens

    @property
    def next_input_id(self) -> int:
        """The token that the next decode step reads."""
        return self.completion_ids[self.num_cached - len(self.prompt_ids)]

    def restart(self) -> None:
        """Forget the row; the next run reads everything again and loses no token."""
        self.num_cached = 0

    def finish_reason(self, eos_token_ids: Collection[int], max_context: int) -> FinishReason | None:
        """Whether the last token ended the sequence; a function of the ids, so it also judges an answer that is continued."""
        if not self.completion_ids:
            return None
        last = self.completion_ids[-1]
        if last in self.sampling.stop_token_ids or (last in eos_token_ids and not self.sampling.ignore_eos):
            return FinishReason.STOP
        if len(self.completion_ids) >= self.sampling.max_tokens or self.num_tokens >= max_context:
            return FinishReason.LENGTH
        return None
