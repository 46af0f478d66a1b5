"""The accounts of the rows that hold keys and values: how long they may get and how many fit into memory.

All rows have one capacity, which grows and shrinks in classes (256, 512, 1024 ... tokens), because a graph over many
rows needs them side by side. One giant capacity would reserve the longest possible chat for everyone.
"""

from __future__ import annotations

from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.model_runner import ModelRunner
from ai_assistant.errors import ConfigurationError

_SMALLEST_CAPACITY = 256
# Rows shrink only when a quarter would do, so that a chat around a border does not copy them back and forth.
_SHRINK_FACTOR = 4


class KVCache:
    """Counts rows and bytes; the memory itself belongs to the model runner."""

    def __init__(self, config: EngineConfig, runner: ModelRunner) -> None:
        self.bytes_per_token = runner.kv_bytes_per_token
        self.num_slots = min(config.num_slots, runner.max_rows or config.num_slots)
        self.memory_bytes = runner.kv_memory_bytes if config.kv_memory_bytes is None else config.kv_memory_bytes
        self.max_context = min(config.max_context or runner.max_positions, runner.max_positions)
        if self.memory_bytes is not None:
            # One sequence alone must always fit, or it could be put back for ever.
            self.max_context = min(self.max_context, self.memory_bytes // self.bytes_per_token)
        if self.max_context < 2:
            raise ConfigurationError(
                f"kv_memory_bytes is too small: two tokens of this model take {2 * self.bytes_per_token} bytes."
            )
        self.capacity = 0
        self.num_rows = 0

    @property
    def num_bytes(self) -> int:
        """Bytes reserved for the rows at their present capacity."""
        return self.num_rows * self.capacity * self.bytes_per_token

    def capacity_for(self, length: int) -> int:
        """The smallest class that holds a row of `length` tokens."""
        capacity = _SMALLEST_CAPACITY
        while capacity < length:
            capacity *= 2
        return min(capacity, self.max_context)

    def rows_for(self, length: int) -> int:
        """How many rows fit into memory when the longest has `length` tokens."""
        if self.memory_bytes is None:
            return self.num_slots
        return min(self.num_slots, self.memory_bytes // (self.capacity_for(length) * self.bytes_per_token))

    def new_capacity(self, length: int) -> int:
        """The capacity for a longest row of `length` tokens: the present one unless it is too small or far too large."""
        wanted = self.capacity_for(length)
        is_too_large = self.capacity >= wanted * _SHRINK_FACTOR or self.rows_for(self.capacity) < self.rows_for(length)
        return wanted if self.capacity < wanted or is_too_large else self.capacity
