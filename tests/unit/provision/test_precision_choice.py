"""What `auto` builds, and what it does with a model that int8 does not suit."""

import sys
from pathlib import Path
from typing import Any, get_args

import onnxruntime
import pytest

from ai_assistant.engine.device import CUDA
from ai_assistant.engine.model_package import load_package
from ai_assistant.errors import ConfigurationError, UnsupportedModelError
from ai_assistant.provision import build
from ai_assistant.provision.build import build_package
from ai_assistant.provision.graph import PRECISIONS
from ai_assistant.provision.precision_choice import AUTO, automatic_precisions, precisions_to_try
from ai_assistant.provision.sources import FetchedModel
from ai_assistant.provision.sources.file import FileSource
from ai_assistant.provision.verification import THRESHOLDS
from ai_assistant.settings import ModelSettings
from unit.provision.tiny_checkpoint import write_checkpoint
from unit.provision.tiny_llama import TinyLlama


def test_a_named_precision_is_the_only_one() -> None:
    assert precisions_to_try("fp16", "cpu") == ("fp16",)
    with pytest.raises(ConfigurationError, match="choose auto or one of"):
        precisions_to_try("fp64", "cpu")


def test_cpus_try_the_fastest_first_and_the_model_itself_last() -> None:
    tried = precisions_to_try("auto", "cpu")
    assert (tried[0], tried[-1]) == ("int8", "fp32")
    assert set(tried) <= set(PRECISIONS)


def test_gpus_take_half() -> None:
    assert automatic_precisions("cuda") == ("fp16",)


def test_a_wrong_device_is_refused_before_anything_is_fetched(tiny_gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no device 'gpu'"):
        build_package(str(tiny_gguf), precision="auto", device="gpu", store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this is about an onnxruntime without CUDA")
def test_cuda_by_name_is_not_silently_the_cpu(tiny_gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"CUDA cannot be used: .*extra `worker-cuda`"):
        build_package(str(tiny_gguf), precision="auto", device="cuda", store=tmp_path)


def test_what_int8_does_not_suit_is_built_in_the_next_precision(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched once, said in one sentence, remembered: the next start neither fetches nor tries again."""
    monkeypatch.setattr(build, "precisions_to_try", lambda *_: ("int8", "fp32"))
    fetched: list[FileSource] = []
    original = FileSource.fetch
    monkeypatch.setattr(FileSource, "fetch", lambda self, *rest: (fetched.append(self), original(self, *rest))[1])
    monkeypatch.setitem(THRESHOLDS, "int8", (1.0, 0.0))
    source = str(tiny_gguf)
    notes: list[tuple[str, str]] = []

    def progress(stage: str, done: int, total: int | None, file: str | None = None, note: str | None = None) -> None:
        if note is not None:
            notes.append((stage, note))

    path = build_package(source, precision="auto", store=tmp_path / "store", progress=progress)
    assert load_package(path, verify=True).manifest.precision == "fp32"
    ((stage, said),) = notes
    assert stage == "convert"
    assert said.startswith("In int8 the model agrees with fp32 on ")
    assert said.endswith(" Trying fp32.")
    assert build_package(source, precision="auto", store=tmp_path / "store") == path
    assert len(fetched) == 1
    assert [entry.name for entry in (tmp_path / "store" / "tmp").iterdir()] == []


def test_auto_may_export_where_half_is_built_and_half_by_name_may_not(
    tiny: TinyLlama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "precisions_to_try", lambda precision, _: ("fp16",))
    checkpoint = write_checkpoint(tmp_path / "model", tiny, config={"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})
    tiny_package = Path(build_package(str(write_checkpoint(tmp_path / "other", tiny)), store=tmp_path / "store"))
    exports: list[FetchedModel] = []

    def export(self: object, fetched: FetchedModel) -> Path:
        exports.append(fetched)
        return tiny_package

    monkeypatch.setattr(build._Build, "_run_export", export)
    python = Path(sys.executable)
    options: dict[str, Any] = {"export_python": python, "store": tmp_path / "store"}
    assert build_package(str(checkpoint), precision="auto", **options) == tiny_package
    assert len(exports) == 1
    # What was remembered of `auto` is no answer to it.
    with pytest.raises(UnsupportedModelError, match=r"GPT2LMHeadModel is not supported.*--precision fp32"):
        build_package(str(checkpoint), precision="fp16", **options)
    assert build_package(str(checkpoint), precision="auto", **options) == tiny_package
    assert len(exports) == 1


def test_every_precision_that_can_be_built_can_be_set() -> None:
    assert set(get_args(ModelSettings.model_fields["precision"].annotation)) == {AUTO, *PRECISIONS}
