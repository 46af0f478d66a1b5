"""Which device computes a package, and the sentence where the one that was asked for cannot."""

from typing import Any

import pytest

from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.device import (
    CPU,
    CUDA,
    CudaState,
    Device,
    DeviceRequest,
    choose_device,
    choose_kind,
    parse_device,
)
from ai_assistant.errors import ConfigurationError

HALF: dict[str, Any] = {"precision": "fp16", "providers": (CUDA, CPU)}
INT8: dict[str, Any] = {"precision": "int8", "providers": (CPU,)}
BOTH = [CUDA, CPU]


def found(devices: int = 1, problem: str | None = None) -> Any:
    return lambda: CudaState(devices, problem)


def never() -> CudaState:
    raise AssertionError("nobody asked for CUDA, so nobody should load its libraries")


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("auto", DeviceRequest("auto")),
        ("cpu", DeviceRequest("cpu")),
        ("cuda", DeviceRequest("cuda", 0)),
        (" CUDA:12 ", DeviceRequest("cuda", 12)),
    ],
)
def test_devices_are_read(text: str, request_: DeviceRequest) -> None:
    assert parse_device(text) == request_


@pytest.mark.parametrize("text", ["", "gpu", "cuda:", "cuda:-1", "cuda:a", "cpu:0", "cuda:0,1"])
def test_an_unknown_device_is_named_with_the_choice(text: str) -> None:
    with pytest.raises(ConfigurationError, match="choose auto, cpu, cuda or cuda:INDEX"):
        parse_device(text)
    with pytest.raises(ConfigurationError):
        EngineConfig(device=text)


@pytest.mark.parametrize("asked", ["auto", "cuda", "cuda:0"])
def test_a_half_package_goes_to_the_gpu(asked: str) -> None:
    assert choose_device(parse_device(asked), **HALF, available=BOTH, look=found()) == Device("cuda", 0)


def test_the_asked_for_gpu_is_taken() -> None:
    assert choose_device(parse_device("cuda:1"), **HALF, available=BOTH, look=found(2)) == Device("cuda", 1)


def test_a_cpu_package_stays_on_the_cpu_without_a_look_for_gpus() -> None:
    for asked in ("auto", "cpu"):
        assert choose_device(parse_device(asked), **INT8, available=BOTH, look=never) == Device("cpu")


def test_cpu_never_looks_for_gpus_and_says_that_it_is_slow() -> None:
    device = choose_device(parse_device("cpu"), **HALF, available=BOTH, look=never)
    assert (device.kind, device.note) == ("cpu", "This fp16 package is computed slowly on the CPU; build int8 for CPUs.")


@pytest.mark.parametrize(
    ("available", "look", "reason"),
    [
        ([CPU], never, "extra `worker-cuda`"),
        (BOTH, found(0, "libcuda.so.1 is missing"), r"libcuda\.so\.1 is missing"),
        (BOTH, found(1), "there is one CUDA device.*choose cuda:0"),
    ],
)
def test_what_is_missing_is_an_error_by_name_and_a_note_for_auto(available: list[str], look: Any, reason: str) -> None:
    index = 1 if look is not never and look().num_devices else 0
    with pytest.raises(ConfigurationError, match=f"^CUDA cannot be used: .*{reason}.* AI_ASSISTANT_DEVICE=cpu"):
        choose_device(DeviceRequest("cuda", index), **HALF, available=available, look=look)
    automatic = choose_device(DeviceRequest("auto", index), **HALF, available=available, look=look)
    assert automatic.kind == "cpu"
    assert automatic.note
    assert "slowly" in automatic.note


def test_a_cpu_precision_on_cuda_names_the_one_to_build() -> None:
    with pytest.raises(ConfigurationError, match=r"The package is int8.*--precision fp16"):
        choose_device(parse_device("cuda"), **INT8, available=BOTH, look=never)


def test_a_package_for_gpus_only_is_refused_on_a_cpu() -> None:
    for asked, available in (("cpu", BOTH), ("auto", [CPU])):
        with pytest.raises(ConfigurationError, match="which CPUs cannot compute"):
            choose_device(parse_device(asked), precision="int4-half", providers=[CUDA], available=available, look=found())


def test_two_devices_are_counted() -> None:
    with pytest.raises(ConfigurationError, match=r"there are 2 CUDA devices.*choose cuda:1 or a lower one"):
        choose_device(parse_device("cuda:2"), **HALF, available=BOTH, look=found(2))


def test_what_is_built_follows_the_device() -> None:
    assert choose_kind(parse_device("auto"), BOTH, found()) == "cuda"
    assert choose_kind(parse_device("auto"), BOTH, found(0, "no driver")) == "cpu"
    assert choose_kind(parse_device("auto"), [CPU], never) == "cpu"
    assert choose_kind(parse_device("cpu"), BOTH, never) == "cpu"
    with pytest.raises(ConfigurationError, match="CUDA cannot be used: no driver"):
        choose_kind(parse_device("cuda"), BOTH, found(0, "no driver"))
