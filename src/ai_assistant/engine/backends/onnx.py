"""The slot graph (`gqa-slots/1`) on ONNX Runtime.

The graph reads and writes keys and values in place: each `past` input and its `present` output are bound to the same
memory, a buffer [rows, heads, capacity, head size] per layer. A decode step binds the first B rows, a prompt chunk
binds one row, so joining copies nothing. Bindings are kept per batch size and per row; only the numbers in the small
input buffers change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ai_assistant.engine.backends.kv_buffers import KVBuffers
from ai_assistant.engine.model_runner import Logits, TokenIds
from ai_assistant.errors import ModelError, ModelPackageError

if TYPE_CHECKING:
    from ai_assistant.engine.model_package import ModelPackage

# ONNX Runtime has no session option for it and reads it when a session is made. Its flash attention for CPUs was slower
# than the plain kernel at every length and batch size that we measured (a decode step of 16 rows: 31 against 23 ms).
_ENVIRONMENT = {"ORT_GQA_DISABLE_FLASH_ATTENTION": "1"}
_DEVICE = "cpu"


class OnnxRunner:
    """A model runner over one inference session and the buffers of its rows."""

    max_rows: int | None = None

    def __init__(self, package: ModelPackage, *, max_chunk: int, threads: int | None = None) -> None:
        manifest = package.manifest
        shape = manifest.architecture
        self.vocab_size = shape.vocab_size
        self.max_positions = shape.max_positions
        self.eos_token_ids = manifest.eos_token_ids
        self.kv_bytes_per_token = manifest.kv_bytes_per_token
        self._pad = manifest.pad_rows_to_multiple
        self._names = [f"{layer}.{part}" for layer in range(shape.layers) for part in ("key", "value")]
        self._session = _open_session(package, threads or len(os.sched_getaffinity(0)))
        self._buffers = KVBuffers(len(self._names), shape.kv_heads, shape.head_size, np.dtype(manifest.kv_dtype))
        self._max_chunk = max_chunk
        self._decoders: dict[int, Any] = {}
        self._prefillers: dict[int, Any] = {}
        self._decode_inputs = _Inputs(0, 1, self.vocab_size)
        self._chunk_inputs = _Inputs(1, max_chunk, self.vocab_size, num_logits=1)

    def resize(self, num_rows: int, capacity: int, lengths: Sequence[int]) -> None:
        num_rows = -(-num_rows // self._pad) * self._pad
        with _translated("There is not enough memory for the keys and values of this conversation"):
            inputs = _Inputs(num_rows, 1, self.vocab_size)
            self._buffers.resize(num_rows, capacity, lengths)
        self._decoders.clear()
        self._prefillers.clear()
        self._decode_inputs = inputs

    def prefill(self, row: int, token_ids: TokenIds, past: int) -> Logits:
        inputs, count = self._chunk_inputs, len(token_ids)
        inputs.token_ids[:count] = token_ids
        inputs.last_positions[0] = past + count - 1
        inputs.longest[...] = past + count
        inputs.logits_indices[0] = count - 1
        with _translated("The model could not read the prompt"):
            if (binding := self._prefillers.get(row)) is None:
                binding = self._prefillers[row] = self._bind(inputs, row, 1)
            _bind_input(binding, "input_ids", inputs.token_ids, (1, count))
            self._session.run_with_iobinding(binding)
        logits: Logits = inputs.logits[0]
        return logits

    def decode(self, token_ids: Sequence[int], lengths: Sequence[int]) -> Logits:
        inputs, count = self._decode_inputs, len(token_ids)
        batch = -(-count // self._pad) * self._pad
        inputs.token_ids[:count] = token_ids
        inputs.token_ids[count:batch] = 0
        inputs.last_positions[:batch] = (*lengths[:batch], *[0] * (batch - len(lengths)))
        inputs.longest[...] = int(inputs.last_positions[:batch].max()) + 1
        with _translated("The model could not compute the next tokens"):
            if (binding := self._decoders.get(batch)) is None:
                binding = self._decoders[batch] = self._bind(inputs, 0, batch)
                _bind_input(binding, "input_ids", inputs.token_ids, (batch, 1))
            self._session.run_with_iobinding(binding)
        return inputs.logits[:count]

    def move(self, source: int, target: int, length: int) -> None:
        self._buffers.move(source, target, length)

    def swap(self, first: int, second: int, length: int) -> None:
        self._buffers.swap(first, second, length)

    def free(self, row: int, keep: int = 0) -> None:
        self._buffers.free(row, keep)

    def _bind(self, inputs: _Inputs, first_row: int, num_rows: int) -> Any:
        binding = self._session.io_binding()
        _bind_input(binding, "seqlens_k", inputs.last_positions, (num_rows,))
        _bind_input(binding, "total_sequence_length", inputs.longest, ())
        _bind_input(binding, "logits_indices", inputs.logits_indices, (num_rows,))
        _bind_output(binding, "logits", inputs.logits, (num_rows, self.vocab_size))
        for name, buffer in zip(self._names, self._buffers.arrays, strict=True):
            shape = (num_rows, *buffer.shape[1:])
            rows = buffer[first_row:]
            _bind_input(binding, f"past.{name}", rows, shape)
            _bind_output(binding, f"present.{name}", rows, shape)
        return binding


class _Inputs:
    """The small buffers of one kind of step, at fixed addresses."""

    def __init__(self, num_rows: int, num_tokens: int, vocab_size: int, *, num_logits: int | None = None) -> None:
        num_logits = num_rows if num_logits is None else num_logits
        self.token_ids = np.zeros(num_rows * num_tokens, np.int64)
        self.last_positions = np.zeros(num_rows, np.int32)  # of each row, after the step
        self.longest = np.zeros((), np.int32)
        self.logits_indices = np.arange(num_logits, dtype=np.int64)
        self.logits = np.zeros((num_logits, vocab_size), np.float32)


def _bind_input(binding: Any, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    binding.bind_input(name, _DEVICE, 0, array.dtype.type, shape, array.ctypes.data)


def _bind_output(binding: Any, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    binding.bind_output(name, _DEVICE, 0, array.dtype.type, shape, array.ctypes.data)


def _open_session(package: ModelPackage, threads: int) -> Any:
    manifest = package.manifest
    # A package may recommend switches of ONNX Runtime, and nothing else; what the owner has set wins.
    recommended = {name: value for name, value in manifest.environment.items() if name.startswith("ORT_")}
    for name, value in (_ENVIRONMENT | recommended).items():
        os.environ.setdefault(name, value)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for name, value in manifest.session_options.items():
        options.add_session_config_entry(name, value)
    try:
        return onnxruntime.InferenceSession(str(package.graph_path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelPackageError(
            f"{package.graph_path} cannot be opened by ONNX Runtime {onnxruntime.__version__}; build the package again with "
            f"`ai-assistant model build`. ({_first_line(error)})"
        ) from error


@contextmanager
def _translated(sentence: str) -> Iterator[None]:
    """ONNX Runtime's exceptions have no common class, and running out of memory is one of its own or Python's."""
    try:
        yield
    except Exception as error:
        raise ModelError(f"{sentence}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
