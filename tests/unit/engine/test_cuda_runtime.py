"""The calls of CUDA's runtime: what becomes of their errors, and what is said about a machine that cannot do it."""

import ctypes
import re
from typing import Any

import onnxruntime
import pytest

from ai_assistant.engine.backends import cuda_runtime
from ai_assistant.engine.backends.cuda_runtime import CudaError, CudaMemory, explain_missing, explain_no_device, look_for_cuda


class FakeLibrary:
    """Records calls; `codes` are what a function returns. Memory begins at 4096."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append((name, arguments))
            if name == "cudaMalloc":
                ctypes.cast(arguments[0], ctypes.POINTER(ctypes.c_void_p))[0] = 4096
            if name == "cudaMemGetInfo":
                ctypes.cast(arguments[0], ctypes.POINTER(ctypes.c_size_t))[0] = 7 << 30
            return self.codes.get(name, 0)

        return call

    def cudaGetErrorString(self, code: int) -> bytes:
        return {2: b"out of memory", 700: b"an illegal memory access was encountered"}[code]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls if name != "cudaSetDevice"]


def memory(monkeypatch: pytest.MonkeyPatch, library: FakeLibrary, index: int = 1) -> CudaMemory:
    monkeypatch.setattr(cuda_runtime, "_runtime_library", lambda: library)
    return CudaMemory(index)


def test_memory_comes_zeroed_from_the_asked_for_device(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary()
    assert memory(monkeypatch, library).allocate(100) == 4096
    assert library.names == ["cudaMalloc", "cudaMemset", "cudaDeviceSynchronize"]
    assert {arguments for name, arguments in library.calls if name == "cudaSetDevice"} == {(1,)}
    assert memory(monkeypatch, library).free_bytes() == 7 << 30


@pytest.mark.parametrize(("method", "kind"), [("write", 1), ("read", 2), ("copy", 3)])
def test_copies_are_done_when_they_return(monkeypatch: pytest.MonkeyPatch, method: str, kind: int) -> None:
    library = FakeLibrary()
    getattr(memory(monkeypatch, library), method)(1, 20, 3, 40, 5, 6)
    assert library.calls[1] == ("cudaMemcpy2D", (1, 20, 3, 40, 5, 6, kind))
    assert library.names[-1] == "cudaDeviceSynchronize"


def test_errors_keep_cuda_s_words_and_do_not_stick(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary(cudaMalloc=2, cudaFree=700)
    with pytest.raises(MemoryError, match="cudaMalloc: out of memory"):
        memory(monkeypatch, library).allocate(100)
    with pytest.raises(CudaError, match="cudaFree: an illegal memory access"):
        memory(monkeypatch, library).free(4096)
    assert library.names.count("cudaGetLastError") == 2


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (
            "libcuda.so.1: cannot open shared object file: No such file or directory",
            "driver is not installed.*docker run --gpus all",
        ),
        (
            "libcublasLt.so.13: cannot open shared object file: No such file",
            r"libcublasLt\.so\.13 is missing.*extra `worker-cuda`",
        ),
        ("libcudnn.so.9: cannot open shared object file", r"libcudnn\.so\.9 is missing.*cuDNN 9"),
        ("/a/libonnxruntime_providers_cuda.so: undefined symbol: x", "cannot be loaded .*undefined symbol"),
    ],
)
def test_a_missing_library_is_named_with_its_remedy(error: str, advice: str) -> None:
    assert re.search(advice, explain_missing(error))


def test_a_missing_device_comes_with_cuda_s_reason() -> None:
    sentence = explain_no_device("CUDA driver version is insufficient for CUDA runtime version")
    assert sentence.startswith("CUDA says: CUDA driver version is insufficient")
    assert "/dev/nvidia*" in sentence


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this is about an onnxruntime without CUDA"
)
def test_looking_on_a_machine_without_cuda_is_quiet_and_says_what_is_missing(capfd: pytest.CaptureFixture[str]) -> None:
    look_for_cuda.cache_clear()
    state = look_for_cuda()
    assert state.num_devices == 0
    assert state.problem
    assert capfd.readouterr() == ("", "")
