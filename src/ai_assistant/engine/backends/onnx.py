"""The slot graph (`gqa-slots/1`) on ONNX Runtime.

The graph reads and writes keys and values in place: each `past` input and its `present` output are bound to the same
memory, a buffer [rows, heads, capacity, head size] per layer. A decode step binds the first B rows, a prompt chunk
binds one row, so joining copies nothing. Bindings are kept per batch size and per row; only the numbers in the small
input buffers change.

On CUDA the buffers are the device's memory. There ONNX Runtime copies an input that lies in this machine's memory when it is
bound and not when it is read, so the small inputs are bound anew for every run; the logits are copied back by the run itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ai_assistant.engine.backends.kv_buffers import KVBuffers
from ai_assistant.engine.backends.session import open_session, translated
from ai_assistant.engine.device import THE_CPU, Device
from ai_assistant.engine.model_runner import Logits, TokenIds
from ai_assistant.errors import ConfigurationError, ModelError

if TYPE_CHECKING:
    from ai_assistant.engine.model_package import ModelPackage

# Of a GPU's free memory, what is left for the activations of a prompt chunk and for others on the device.
_CUDA_RESERVE_SHARE, _CUDA_RESERVE_BYTES = 0.1, 512 * 2**20
_FEWEST_TOKENS = 256


class _Buffers(Protocol):
    """Keys and values of all rows; see KVBuffers."""

    @property
    def row_shape(self) -> tuple[int, int, int]: ...

    def addresses(self, row: int) -> list[int]: ...

    def resize(self, num_rows: int, capacity: int, lengths: Sequence[int]) -> None: ...

    def move(self, source: int, target: int, length: int) -> None: ...

    def swap(self, first: int, second: int, length: int) -> None: ...

    def free(self, row: int, keep: int) -> None: ...

    def check(self) -> None:
        """Raises what is no ModelError where the device is lost, so that other workers take over all there is."""


class OnnxRunner:
    """A model runner over one inference session and the buffers of its rows."""

    max_rows: int | None = None
    kv_memory_bytes: int | None = None

    def __init__(self, package: ModelPackage, *, max_chunk: int, threads: int | None = None, device: Device = THE_CPU) -> None:
        manifest = package.manifest
        shape = manifest.slot_architecture
        self.vocab_size = shape.vocab_size
        self.max_positions = shape.max_positions
        self.eos_token_ids = manifest.eos_token_ids
        self.kv_bytes_per_token = manifest.kv_bytes_per_token
        self._pad = manifest.pad_rows_to_multiple
        self._names = [f"{layer}.{part}" for layer in range(shape.layers) for part in ("key", "value")]
        self._device = device
        self._kv_type = np.dtype(manifest.kv_dtype)
        self._session = open_session(package, threads, device)
        self._buffers = self._make_buffers(shape.kv_heads, shape.head_size)
        self._copies_inputs = device.kind == "cuda"
        self._max_chunk = max_chunk
        self._decoders: dict[int, Any] = {}
        self._prefillers: dict[int, Any] = {}
        self._decode_inputs = _Inputs(0, 1, self.vocab_size)
        self._chunk_inputs = _Inputs(1, max_chunk, self.vocab_size, num_logits=1)

    def resize(self, num_rows: int, capacity: int, lengths: Sequence[int]) -> None:
        num_rows = -(-num_rows // self._pad) * self._pad
        with translated("There is not enough memory for the keys and values of this conversation"):
            inputs = _Inputs(num_rows, 1, self.vocab_size)
            # First, for even a failed attempt may leave the rows at other addresses.
            self._decoders.clear()
            self._prefillers.clear()
            self._buffers.resize(num_rows, capacity, lengths)
        self._decode_inputs = inputs

    def prefill(self, row: int, token_ids: TokenIds, past: int) -> Logits:
        inputs, count = self._chunk_inputs, len(token_ids)
        inputs.token_ids[:count] = token_ids
        inputs.last_positions[0] = past + count - 1
        inputs.longest[...] = past + count
        inputs.logits_indices[0] = count - 1
        with self._computing("The model could not read the prompt"):
            if (binding := self._prefillers.get(row)) is None:
                binding = self._prefillers[row] = self._bind(inputs, row, 1)
            _bind_input(binding, "input_ids", inputs.token_ids, (1, count))
            if self._copies_inputs:
                _bind_positions(binding, inputs, 1)
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
        with self._computing("The model could not compute the next tokens"):
            if (binding := self._decoders.get(batch)) is None:
                binding = self._decoders[batch] = self._bind(inputs, 0, batch)
                _bind_input(binding, "input_ids", inputs.token_ids, (batch, 1))
            if self._copies_inputs:
                _bind_input(binding, "input_ids", inputs.token_ids, (batch, 1))
                _bind_positions(binding, inputs, batch)
            self._session.run_with_iobinding(binding)
        return inputs.logits[:count]

    def move(self, source: int, target: int, length: int) -> None:
        self._buffers.move(source, target, length)

    def swap(self, first: int, second: int, length: int) -> None:
        self._buffers.swap(first, second, length)

    def free(self, row: int, keep: int = 0) -> None:
        self._buffers.free(row, keep)

    @contextmanager
    def _computing(self, sentence: str) -> Iterator[None]:
        try:
            with translated(sentence):
                yield
        except ModelError:
            self._buffers.check()
            raise

    def _make_buffers(self, heads: int, head_size: int) -> _Buffers:
        if self._device.kind == "cpu":
            return KVBuffers(len(self._names), heads, head_size, self._kv_type)
        from ai_assistant.engine.backends.cuda_buffers import DeviceKVBuffers
        from ai_assistant.engine.backends.cuda_runtime import CudaMemory

        memory = CudaMemory(self._device.index)
        free = memory.free_bytes()
        self.kv_memory_bytes = free - max(_CUDA_RESERVE_BYTES, int(free * _CUDA_RESERVE_SHARE))
        if self.kv_memory_bytes < _FEWEST_TOKENS * self.kv_bytes_per_token:
            raise ConfigurationError(
                f"CUDA device {self._device.index} has {free // 2**20} MiB free beside the model, too little to answer with:"
                " end what else uses it (nvidia-smi lists that), or choose a smaller model."
            )
        return DeviceKVBuffers(memory, len(self._names), heads, head_size, self._kv_type)

    def _bind(self, inputs: _Inputs, first_row: int, num_rows: int) -> Any:
        binding = self._session.io_binding()
        _bind_positions(binding, inputs, num_rows)
        binding.bind_output("logits", "cpu", 0, np.float32, (num_rows, self.vocab_size), inputs.logits.ctypes.data)
        shape = (num_rows, *self._buffers.row_shape)
        place = self._device.kind, self._device.index, self._kv_type.type, shape
        for name, address in zip(self._names, self._buffers.addresses(first_row), strict=True):
            binding.bind_input(f"past.{name}", *place, address)
            binding.bind_output(f"present.{name}", *place, address)
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


def _bind_positions(binding: Any, inputs: _Inputs, num_rows: int) -> None:
    _bind_input(binding, "seqlens_k", inputs.last_positions, (num_rows,))
    _bind_input(binding, "total_sequence_length", inputs.longest, ())
    _bind_input(binding, "logits_indices", inputs.logits_indices, (num_rows,))


def _bind_input(binding: Any, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    binding.bind_input(name, "cpu", 0, array.dtype.type, shape, array.ctypes.data)
