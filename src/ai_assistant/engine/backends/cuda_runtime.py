"""The few calls of CUDA's runtime library that ONNX Runtime has no Python name for: memory of one device, and what is missing.

The library is the one that ONNX Runtime's CUDA provider loads itself (wheel nvidia-cuda-runtime, or the system's).
"""

from __future__ import annotations

import contextlib
import ctypes
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime

from ai_assistant.engine.device import CudaState

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_TO_DEVICE, _TO_HOST, _ON_DEVICE = 1, 2, 3  # cudaMemcpyKind

_SIZE, _POINTER, _NUMBER = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
_SIGNATURES: dict[str, Sequence[Any]] = {
    "cudaGetDeviceCount": [ctypes.POINTER(_NUMBER)],
    "cudaSetDevice": [_NUMBER],
    "cudaMalloc": [ctypes.POINTER(_POINTER), _SIZE],
    "cudaFree": [_POINTER],
    "cudaMemset": [_POINTER, _NUMBER, _SIZE],
    "cudaMemcpy2D": [_POINTER, _SIZE, _POINTER, _SIZE, _SIZE, _SIZE, _NUMBER],
    "cudaMemGetInfo": [ctypes.POINTER(_SIZE), ctypes.POINTER(_SIZE)],
    "cudaDeviceSynchronize": [],
    "cudaGetLastError": [],
}


class CudaError(RuntimeError):
    """A call of CUDA's runtime failed; the text is CUDA's."""


class CudaMemory:
    """Memory of one device. Every method returns after the device has done it, so it never races with a run of the graph."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._library = _runtime_library()

    def allocate(self, size: int) -> int:
        """Address of `size` zero bytes; raises MemoryError where the device has no room."""
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), size)
        assert address.value is not None
        # The attention multiplies what lies behind a row's end by zero, and garbage may be NaN.
        self._call("cudaMemset", address, 0, size)
        self._call("cudaDeviceSynchronize")
        return address.value

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def copy(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int) -> None:
        """`height` pieces of `width` bytes, `pitch` bytes apart, from the device to the device."""
        self._copy(target, target_pitch, source, source_pitch, width, height, _ON_DEVICE)

    def read(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int) -> None:
        """The same from the device into this machine's memory."""
        self._copy(target, target_pitch, source, source_pitch, width, height, _TO_HOST)

    def write(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int) -> None:
        """The same from this machine's memory to the device."""
        self._copy(target, target_pitch, source, source_pitch, width, height, _TO_DEVICE)

    def free_bytes(self) -> int:
        """What nobody on the device uses at this moment."""
        free, total = _SIZE(), _SIZE()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def _copy(self, *arguments: int) -> None:
        self._call("cudaMemcpy2D", *arguments)
        # A copy within the device returns before it is done, and ONNX Runtime's stream does not wait for it.
        self._call("cudaDeviceSynchronize")

    def _call(self, name: str, *arguments: Any) -> None:
        # CUDA keeps the current device per thread, and who calls may be on any.
        for function, given in (("cudaSetDevice", (self._index,)), (name, arguments)):
            if code := getattr(self._library, function)(*given):
                self._library.cudaGetLastError()  # or the next call of whoever comes would fail with it
                message = f"{name}: {_error_text(self._library, code)}"
                raise MemoryError(message) if code == _OUT_OF_MEMORY else CudaError(message)


@cache
def look_for_cuda() -> CudaState:
    """The devices that CUDA finds, or which library, driver or device is missing.

    ONNX Runtime itself only logs why its CUDA provider cannot be loaded, and goes on with the CPU.
    """
    # It loads what the wheels brought, so that it is found by name, and prints what they did not bring.
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()
    try:
        for name in _needed_libraries(onnxruntime.cuda_version):
            ctypes.CDLL(name)
        library = _runtime_library()
    except OSError as error:
        return CudaState(0, explain_missing(str(error)))
    count = _NUMBER()
    if code := library.cudaGetDeviceCount(ctypes.byref(count)):
        return CudaState(0, explain_no_device(_error_text(library, code)))
    return CudaState(count.value, None if count.value else explain_no_device("no CUDA-capable device is detected"))


def why_not_started() -> str:
    """Why a session that was to use CUDA does without. Only after a session was made: the provider's library must not be
    loaded before ONNX Runtime has loaded the one that it takes its host from."""
    try:
        ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return explain_missing(str(error))
    return "ONNX Runtime's CUDA provider did not start; its own line above says why"


def explain_missing(error: str) -> str:
    """What to do about a shared library that the dynamic linker did not find; `error` is its message."""
    name = error.partition(":")[0]
    if name.startswith("libcuda.so"):
        return (
            f"the NVIDIA driver is not installed or not visible here ({name} is missing): install driver 580 or newer, and give a"
            " container the GPU (docker run --gpus all; on Kubernetes a limit nvidia.com/gpu)"
        )
    if name.startswith(("libcu", "libnv")):
        return (
            f"{name} is missing, a library of CUDA 13 or cuDNN 9: install the extra `worker-cuda`, which brings them as wheels,"
            " or CUDA 13 and cuDNN 9 on this machine"
        )
    return f"ONNX Runtime's CUDA provider cannot be loaded ({error})"


def explain_no_device(error: str) -> str:
    """What to do where the driver answers and gives no device; `error` is CUDA's message."""
    return (
        f"CUDA says: {error}. nvidia-smi on this machine must list a GPU and driver 580 or newer (CUDA 13); in a container the"
        " device nodes /dev/nvidia* must be there (docker run --gpus all; on Kubernetes a limit nvidia.com/gpu)"
    )


def _needed_libraries(cuda_version: str) -> list[str]:
    """What the provider is linked against, the likeliest to be missing first."""
    major = cuda_version.partition(".")[0]
    return ["libcuda.so.1", *(f"lib{name}.so.{major}" for name in ("cudart", "cublasLt", "cublas"))]


@cache
def _runtime_library() -> Any:
    """Raises OSError where there is none."""
    major = onnxruntime.cuda_version.partition(".")[0]
    library = ctypes.CDLL(f"libcudart.so.{major}")
    for name, arguments in _SIGNATURES.items():
        getattr(library, name).argtypes = arguments
    library.cudaGetErrorString.argtypes, library.cudaGetErrorString.restype = [_NUMBER], ctypes.c_char_p
    return library


def _error_text(library: Any, code: int) -> str:
    return str(library.cudaGetErrorString(code).decode(errors="replace"))
