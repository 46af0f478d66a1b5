"""A graph whose keys and values come back longer by each step (`past-tensors/1`), as exporters write it, on ONNX Runtime.

    input_ids, attention_mask[, position_ids], past_key_values.N.PART -> logits, present.N.PART

A row is the list of tensors that the last run gave out; they are fed to the next one where they lie. Rows are of
different lengths and the graph knows no ragged batch, so each row is a run of its own. That makes the weights be read
once per row, and a row's numbers those that it would have alone, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ai_assistant.engine.backends.past_tensors_contract import CacheInput, read_contract
from ai_assistant.engine.backends.session import open_session, translated
from ai_assistant.engine.device import THE_CPU
from ai_assistant.engine.model_runner import Logits, TokenIds
from ai_assistant.errors import ModelError

if TYPE_CHECKING:
    from ai_assistant.engine.model_package import ModelPackage

_DEVICE = "cpu"
# The order of the keys and values is that of the contract; a row without any has no tokens.
_Tensors: TypeAlias = list[Any]


class PastTensorsRunner:
    """A model runner over one inference session and the tensors of its rows."""

    max_rows: int | None = None
    kv_memory_bytes: int | None = None

    def __init__(self, package: ModelPackage, *, threads: int | None = None) -> None:
        manifest = package.manifest
        self.vocab_size = manifest.architecture.vocab_size
        self.max_positions = manifest.architecture.max_positions
        self.eos_token_ids = manifest.eos_token_ids
        # Every step asks for other sizes than the one before: an arena would keep blocks of all of them, and a plan for each.
        self._session = open_session(package, threads, THE_CPU, keeps_memory=False)
        self._contract = read_contract(self._session)
        self.kv_bytes_per_token = self._contract.bytes_per_token
        # Both are longer than what a step reads of them, and never written to.
        self._mask = np.ones(self.max_positions, np.int64)
        self._positions = np.arange(self.max_positions, dtype=np.int64)
        self._rows: list[_Row] = []
        self._logits: Logits = np.empty((0, self.vocab_size), np.float32)

    def resize(self, num_rows: int, capacity: int, lengths: Sequence[int]) -> None:
        """Rows take memory as they grow; the capacity is the accounts' matter."""
        kept = [row if lengths[index] else _Row() for index, row in enumerate(self._rows[: len(lengths)])]
        self._rows = kept + [_Row() for _ in range(num_rows - len(kept))]
        self._logits = np.zeros((num_rows, self.vocab_size), np.float32)

    def prefill(self, row: int, token_ids: TokenIds, past: int) -> Logits:
        with translated("The model could not read the prompt"):
            return self._run(row, token_ids, past)

    def decode(self, token_ids: Sequence[int], lengths: Sequence[int]) -> Logits:
        with translated("The model could not compute the next tokens"):
            # A row that is ahead because a later one failed goes back to its length with the next call.
            for row, token_id in enumerate(token_ids):
                self._logits[row] = self._run(row, [token_id], lengths[row])
        return self._logits[: len(token_ids)]

    def move(self, source: int, target: int, length: int) -> None:
        # A run never changes what it was given, so rows may share it.
        self._rows[target] = _Row(self._rows[source].tensors, self._rows[source].length)

    def swap(self, first: int, second: int, length: int) -> None:
        self._rows[first], self._rows[second] = self._rows[second], self._rows[first]

    def free(self, row: int, keep: int = 0) -> None:
        kept = self._rows[row]
        if not keep:
            self._rows[row] = _Row()
        elif keep < kept.length:
            self._cut(kept, keep)

    @property
    def num_tokens_held(self) -> int:
        """Tokens in all rows together: zero when nothing leaks."""
        return sum(row.length for row in self._rows)

    def _run(self, index: int, token_ids: TokenIds, past: int) -> Logits:
        """The logits [vocabulary] after the last token; the row is changed only when all went well."""
        row, count = self._rows[index], len(token_ids)
        self._cut(row, past)
        binding = self._session.io_binding()
        ids = np.array(token_ids, np.int64)
        _bind(binding, "input_ids", ids, (1, count))
        if self._contract.has_attention_mask:
            _bind(binding, "attention_mask", self._mask, (1, past + count))
        if self._contract.has_position_ids:
            _bind(binding, "position_ids", self._positions[past:], (1, count))
        tensors = row.tensors or [_ort_value(cache.empty()) for cache in self._contract.cache]
        for cache, tensor in zip(self._contract.cache, tensors, strict=True):
            binding.bind_ortvalue_input(cache.past, tensor)
            binding.bind_output(cache.present, _DEVICE)
        binding.bind_output("logits", _DEVICE)
        self._session.run_with_iobinding(binding)
        *grown, logits = binding.get_outputs()
        # Seen where they lie: all but the last are thrown away, and with a large vocabulary they are many.
        last: Logits = np.from_dlpack(logits)[0, -1].astype(np.float32)
        row.tensors, row.length = grown, past + count
        return last

    def _cut(self, row: _Row, length: int) -> None:
        """Make the row hold `length` tokens; it may hold more, which were given up or not kept."""
        if row.length == length:
            return
        if row.length < length:
            raise ModelError(f"A row holds {row.length} tokens where {length} were read; restart the worker.")
        row.tensors = [
            _first_tokens(cache, tensor, length) for cache, tensor in zip(self._contract.cache, row.tensors, strict=True)
        ]
        row.length = length


class _Row:
    """Keys and values of `length` tokens."""

    def __init__(self, tensors: _Tensors | None = None, length: int = 0) -> None:
        self.tensors = tensors or []
        self.length = length


def _first_tokens(cache: CacheInput, tensor: Any, length: int) -> Any:
    values: NDArray[Any] = np.from_dlpack(tensor)
    # A copy, so that the longer tensor can go.
    return _ort_value(np.array(values.take(range(length), axis=cache.axis), order="C"))


def _ort_value(values: NDArray[Any]) -> Any:
    return onnxruntime.OrtValue.ortvalue_from_numpy(values)


def _bind(binding: Any, name: str, array: NDArray[np.int64], shape: tuple[int, ...]) -> None:
    binding.bind_input(name, _DEVICE, 0, np.int64, shape, array.ctypes.data)
