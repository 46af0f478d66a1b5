"""Which tokens a sequence has, and how often its answer has them: what penalties count, kept as the answer grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ai_assistant.engine.parked_rows import IdArray


class TokenCounts:
    """Takes an answer as it grows; a step costs what its new tokens cost, not what the history would."""

    def __init__(self, prompt_ids: IdArray) -> None:
        self._prompt_ids = np.unique(prompt_ids)
        self._in_prompt = frozenset(self._prompt_ids.tolist())
        self._places: dict[int, int] = {}
        self._ids = np.zeros(16, np.int64)
        self._counts = np.zeros(16, np.int64)
        self._seen = np.concatenate((self._prompt_ids, np.zeros(16, np.int64)))
        self._num_seen = self._prompt_ids.size
        self._num_counted = 0

    def update(self, completion_ids: Sequence[int]) -> None:
        """Count what was added to the answer since the last call."""
        for index in range(self._num_counted, len(completion_ids)):
            self._count(completion_ids[index])
        self._num_counted = len(completion_ids)

    @property
    def seen_ids(self) -> IdArray:
        """Every token of prompt and answer once."""
        return self._seen[: self._num_seen]

    @property
    def answered(self) -> tuple[IdArray, NDArray[np.int64]]:
        """Every token of the answer once, and how often it is there."""
        count = len(self._places)
        return self._ids[:count], self._counts[:count]

    def _count(self, token_id: int) -> None:
        place = self._places.get(token_id)
        if place is not None:
            self._counts[place] += 1
            return
        place = self._places[token_id] = len(self._places)
        if place == self._ids.size:
            self._ids, self._counts = _doubled(self._ids), _doubled(self._counts)
        self._ids[place], self._counts[place] = token_id, 1
        if token_id not in self._in_prompt:
            if self._num_seen == self._seen.size:
                self._seen = _doubled(self._seen)
            self._seen[self._num_seen] = token_id
            self._num_seen += 1


def _doubled(array: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((array, np.zeros_like(array)))
