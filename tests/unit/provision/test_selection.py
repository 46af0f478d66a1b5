"""Which files of a repository are the model."""

import pytest

from ai_assistant.errors import AssistantError, SourceError, UnsupportedModelError
from ai_assistant.provision.sources.selection import select_files


def selected(*paths: str, wanted: str = "") -> list[str]:
    return sorted(select_files(dict.fromkeys(paths, 3_000_000), "org/tiny", wanted).files)


def test_safetensors_come_before_everything_else() -> None:
    whole = ["config.json", "model.safetensors", "tokenizer.json"]
    assert selected(*whole, "tiny.gguf", "pytorch_model.bin", "consolidated.safetensors", "README.md") == whole
    assert selected(*whole, "model-00001-of-00001.safetensors", "model.safetensors.index.json") == whole


def test_a_name_can_ask_for_the_gguf_file_beside_them() -> None:
    paths = ("config.json", "model.safetensors", "a/tiny-Q4_0.gguf", "tiny-F16.gguf")
    assert selected(*paths, wanted="tiny-Q4_0.gguf") == ["a/tiny-Q4_0.gguf"]
    assert selected(*paths, wanted="a/*") == ["a/tiny-Q4_0.gguf"]
    assert selected(*paths, wanted="*.gguf") == ["tiny-F16.gguf"]
    assert selected(*paths, wanted="*.safetensors") == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("paths", "best"),
    [
        (["odd-name.gguf"], "odd-name.gguf"),
        (["m-Q4_0.gguf", "m-Q8_0.gguf", "m-Q4_K_M.gguf"], "m-Q8_0.gguf"),
        (["m.Q4_0.gguf", "m.fp16.gguf", "m.F32.gguf"], "m.fp16.gguf"),
        (["m-q4_k_m.gguf", "m-q4_0.gguf", "m-iq3_xs.gguf"], "m-q4_k_m.gguf"),
        (["m-Q8_0.gguf", "mmproj-m-F16.gguf", "m-imatrix.gguf"], "m-Q8_0.gguf"),
        (["m-BF16-00001-of-00002.gguf", "m-BF16-00002-of-00002.gguf", "m-Q8_0.gguf"], "m-Q8_0.gguf"),
    ],
)
def test_the_most_exact_gguf_file(paths: list[str], best: str) -> None:
    assert selected(*paths) == [best]


@pytest.mark.parametrize(
    ("paths", "error", "sentence"),
    [
        (["a-Q8_0.gguf", "b-Q8_0.gguf"], SourceError, r"several GGUF files, a-Q8_0.gguf \(3 MB\), b-Q8_0.gguf .* #FILE"),
        (["a-1.gguf", "a-2.gguf"], SourceError, "name one by adding #FILE"),
        (["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], UnsupportedModelError, "parts of a split GGUF file"),
        (["model.safetensors"], SourceError, "no config.json"),
        (["config.json", "pytorch_model-00001-of-00002.bin"], UnsupportedModelError, "pickled PyTorch files"),
        (["config.json", "consolidated.00.pth"], UnsupportedModelError, "pickled PyTorch files"),
        (["adapter_config.json", "adapter_model.safetensors"], UnsupportedModelError, "only an adapter"),
        (["config.json", "transformer/model.safetensors"], SourceError, "in its top folder, only transformer/model.safe"),
        (["README.md"], SourceError, "holds no model"),
    ],
)
def test_what_cannot_be_chosen(paths: list[str], error: type[AssistantError], sentence: str) -> None:
    with pytest.raises(error, match=sentence) as caught:
        selected(*paths)
    assert caught.value.message.startswith("org/tiny")
