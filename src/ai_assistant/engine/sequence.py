"""One request inside the engine: its tokens so far and how far the model has read them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

import numpy as np

from ai_assistant.engine.parked_rows import IdArray, common_prefix
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.token_counts import TokenCounts


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
        try:
            self.prompt_ids: IdArray = np.array(list(prompt_ids), np.int64)
        except OverflowError as error:
            raise ValueError(f"Sequence {seq_id} has token ids outside any vocabulary.") from error
        self.completion_ids = list(completion_ids)
        self.sampling = sampling
        self.deadline = deadline
        self.row: int | None = None
        self.num_cached = 0
        self.first_decoded: int | None = None  # token of a reused beginning that was not read as a prompt
        self.arrival = 0
        self.is_cancelled = False
        self._token_counts: TokenCounts | None = None

    def __repr__(self) -> str:
        return f"Sequence({self.seq_id!r}, {self.prompt_ids.size}+{len(self.completion_ids)}, {self.num_cached} cached)"

    @property
    def num_tokens(self) -> int:
        return self.prompt_ids.size + len(self.completion_ids)

    @property
    def needs_token(self) -> bool:
        """The model has read all that is known: its logits choose the next token."""
        return self.num_cached == self.num_tokens

    @property
    def next_input_id(self) -> int:
        """The token that the next decode step reads."""
        return self.completion_ids[self.num_cached - self.prompt_ids.size]

    @property
    def token_counts(self) -> TokenCounts:
        """Up to date; for penalties."""
        if self._token_counts is None:
            self._token_counts = TokenCounts(self.prompt_ids)
        self._token_counts.update(self.completion_ids)
        return self._token_counts

    @property
    def num_unread(self) -> int:
        """Tokens of the prompt that the model has not read yet."""
        return max(0, self.prompt_ids.size - self.num_cached)

    @property
    def num_exact(self) -> int:
        """How many of the cached tokens have the numbers of a prompt that was read from its beginning."""
        limit = self.prompt_ids.size if self.first_decoded is None else self.first_decoded
        return min(self.num_cached, limit)

    def cached_ids(self) -> IdArray:
        """The tokens whose keys and values are in the row; for when the sequence is over."""
        return np.concatenate((self.prompt_ids, np.array(self.completion_ids, np.int64)))[: self.num_cached]

    def shared_tokens(self, token_ids: IdArray) -> int:
        """How many of its cached tokens `token_ids` begins with."""
        shared = common_prefix(self.prompt_ids[: self.num_cached], token_ids)
        if shared == self.prompt_ids.size:
            shared += common_prefix(np.array(self.completion_ids, np.int64), token_ids[shared:])
        return min(shared, self.num_cached)

    def start_from(self, num_tokens: int, num_exact: int) -> None:
        """The row begins with keys and values of another one, of which `num_exact` were read as a prompt."""
        self.num_cached = num_tokens
        self.first_decoded = num_exact if num_exact < num_tokens else None

    def restart(self) -> None:
        """Forget the row; the next run reads everything again and loses no token."""
        self.row, self.num_cached, self.first_decoded = None, 0, None

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
