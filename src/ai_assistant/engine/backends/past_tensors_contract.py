"""What a graph of contract `past-tensors/1` asks for, read from the graph itself, for exporters differ by model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ai_assistant.errors import UnsupportedModelError

_PAST, _PRESENT = "past_key_values.", "present."
_BATCH, _LENGTH = "batch_size", "past_sequence_length"
_KNOWN = {"input_ids", "attention_mask", "position_ids"}
_DTYPES: dict[str, type[Any]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class CacheInput:
    """One tensor of keys or values: its names and its shape, of which dimension `axis` counts the tokens."""

    past: str
    present: str
    dtype: type[Any]
    axis: int
    dimensions: tuple[int, ...]

    def empty(self) -> Array:
        """The tensor of one row without tokens."""
        return np.empty(self.dimensions, self.dtype)

    @property
    def bytes_per_token(self) -> int:
        sizes = [size for axis, size in enumerate(self.dimensions) if axis != self.axis]
        return int(np.prod(sizes)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class PastTensorsContract:
    """The inputs of a graph. Its outputs are `logits` [1, tokens, vocabulary] and what belongs to the cache."""

    cache: tuple[CacheInput, ...]
    has_attention_mask: bool
    has_position_ids: bool

    @property
    def bytes_per_token(self) -> int:
        return sum(cache.bytes_per_token for cache in self.cache)


def read_contract(session: Any) -> PastTensorsContract:
    """Raises UnsupportedModelError for a graph that wants something else than tokens and what it gave out itself."""
    inputs = {argument.name: argument for argument in session.get_inputs()}
    outputs = {argument.name for argument in session.get_outputs()}
    cache = tuple(_cache_input(argument) for name, argument in inputs.items() if name.startswith(_PAST))
    if unknown := sorted(inputs.keys() - _KNOWN - {part.past for part in cache}):
        raise UnsupportedModelError(f"The exported graph asks for {', '.join(unknown)}, which a chat cannot give it.")
    if missing := sorted({"logits", *(part.present for part in cache)} - outputs) or sorted({"input_ids"} - inputs.keys()):
        raise UnsupportedModelError(f"The exported graph has no {missing[0]}; it is not a text decoder.")
    if not cache:
        raise UnsupportedModelError("The exported graph keeps no keys and values, so every token would read the whole chat anew.")
    return PastTensorsContract(cache, "attention_mask" in inputs, "position_ids" in inputs)


def _cache_input(argument: Any) -> CacheInput:
    name: str = argument.name
    dtype = _DTYPES.get(argument.type)
    shape: Sequence[int | str] = argument.shape
    fixed = [size for size in shape if isinstance(size, int)]
    if dtype is None or len(fixed) != len(shape) - 2 or not {_BATCH, _LENGTH} <= set(shape):
        raise UnsupportedModelError(f"The exported graph keeps {name} as {argument.type} {list(shape)}, which is not supported.")
    return CacheInput(
        past=name,
        present=_PRESENT + name.removeprefix(_PAST),
        dtype=dtype,
        axis=list(shape).index(_LENGTH),
        dimensions=tuple({_BATCH: 1, _LENGTH: 0}[size] if isinstance(size, str) else size for size in shape),
    )
