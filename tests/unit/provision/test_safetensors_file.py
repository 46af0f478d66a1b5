"""Safetensors: what is read is what was written, and every damage has a sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.safetensors_file import SafetensorsFile, SafetensorsFolder
from unit.provision.tiny_checkpoint import write_safetensors

VALUES = np.array([[0.0, -1.0, 3.140625], [1e30, 2.0**-126, np.inf]], np.float32)


def with_header(path: Path, header: Any, data: bytes = b"") -> Path:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(start: int, end: int, *, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def test_each_type_comes_back_as_fp32(tmp_path: Path) -> None:
    halves = np.array([0.5, -65504, 2.0**-24], np.float16)
    bf16 = (VALUES.view(np.uint32) >> 16).astype(np.uint16)
    # An odd number of halves: what follows them is not aligned.
    path = write_safetensors(tmp_path / "m.safetensors", {"half": halves, "single": VALUES, "brain": bf16})
    file = SafetensorsFile(path)
    assert file.tensor_names == {"half", "single", "brain"}
    np.testing.assert_array_equal(file.tensor("half"), halves.astype(np.float32))
    np.testing.assert_array_equal(file.tensor("single"), VALUES)
    truncated = (VALUES.view(np.uint32) & 0xFFFF0000).view(np.float32)
    np.testing.assert_array_equal(file.tensor("brain"), truncated)
    assert {file.tensor(name).dtype for name in file.tensor_names} == {np.dtype(np.float32)}


def test_eight_bits_are_refused_by_name_and_only_when_read(tmp_path: Path) -> None:
    file = SafetensorsFile(with_header(tmp_path / "m.safetensors", {"w": entry(0, 4, shape=(4,), dtype="F8_E4M3")}, bytes(4)))
    assert file.shape("w") == (4,)
    with pytest.raises(UnsupportedModelError, match=r"Tensor w is stored as F8_E4M3, .* F32, F16, BF16"):
        file.tensor("w")


@pytest.mark.parametrize(
    ("header", "data", "sentence"),
    [
        ({"a": entry(0, 8)}, 4, "tensor a of shape .* has 8 bytes of F32"),
        ({"a": entry(0, 4)}, 0, "its tensors end at"),
        ({"a": entry(0, 4)}, 8, "its tensors end at"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, 4, "tensor b does not begin where"),
        ({"a": entry(0, 4), "b": entry(2, 6)}, 8, "tensor b does not begin where"),
        ({"a": entry(4, 8)}, 8, "tensor a does not begin where"),
        ({"a": entry(-4, 0)}, 0, "entry of tensor a makes no sense"),
        ({"a": entry(4, 0)}, 4, "entry of tensor a makes no sense"),
        ({"a": entry(0, 4, shape=(-1, -1))}, 4, "entry of tensor a makes no sense"),
        ({"a": entry(0, 4, shape=("1",))}, 4, "entry of tensor a makes no sense"),
        ({"a": entry(0, 4, shape=(10**30,))}, 4, "has 4 bytes of F32"),
        ({"a": {"dtype": "F32", "shape": [1]}}, 4, "entry of tensor a makes no sense"),
        ({"a": [1, 2]}, 4, "entry of tensor a makes no sense"),
        ([], 0, "its header is not an object"),
        ("{", 0, "its header is not JSON"),
        ("[" * 100_000, 0, "its header is not JSON"),
        ('{"a": ' + json.dumps(entry(0, 4)) + ', "a": ' + json.dumps(entry(0, 4)) + "}", 4, "a is there twice"),
    ],
)
def test_a_header_that_cannot_be_is_damage(tmp_path: Path, header: Any, data: int, sentence: str) -> None:
    path = with_header(tmp_path / "m.safetensors", header, bytes(data))
    with pytest.raises(ModelPackageError, match=rf"m.safetensors is truncated or damaged \(.*{sentence}.*download it again"):
        SafetensorsFile(path)


def test_every_truncation_is_seen(tmp_path: Path) -> None:
    content = write_safetensors(tmp_path / "whole", {"a": VALUES, "b": VALUES}).read_bytes()
    path = tmp_path / "m.safetensors"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ModelPackageError, match="truncated or damaged"):
            SafetensorsFile(path)


def test_no_damage_is_a_surprise(tmp_path: Path) -> None:
    """Wrong bytes in the head, lengths of exabytes among them."""
    content, random = write_safetensors(tmp_path / "whole", {"a": VALUES, "b": VALUES}).read_bytes(), np.random.default_rng(0)
    head = len(content) - 2 * VALUES.nbytes
    path, refused = tmp_path / "m.safetensors", 0
    for _ in range(1000):
        changed = bytearray(content)
        for place in random.integers(0, head, 2):
            changed[place] = random.integers(256)
        path.write_bytes(changed)
        try:
            file = SafetensorsFile(path)
            for name in file.tensor_names:
                file.tensor(name)
        except (ModelPackageError, UnsupportedModelError):
            refused += 1
    assert refused > 500


# Folders


def sharded(folder: Path, weight_map: Any = None) -> Path:
    write_safetensors(folder / "model-00001-of-00002.safetensors", {"a": VALUES})
    write_safetensors(folder / "model-00002-of-00002.safetensors", {"b": VALUES + 1})
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = {"metadata": {}, "weight_map": names if weight_map is None else weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_shards_are_one_model(tmp_path: Path) -> None:
    tensors = SafetensorsFolder(sharded(tmp_path))
    assert tensors.tensor_names == {"a", "b"}
    assert tensors.shape("b") == VALUES.shape
    np.testing.assert_array_equal(tensors.tensor("b"), VALUES + 1)


def test_one_file_comes_before_shards(tmp_path: Path) -> None:
    write_safetensors(sharded(tmp_path) / "model.safetensors", {"c": VALUES})
    assert SafetensorsFolder(tmp_path).tensor_names == {"c"}


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    (sharded(tmp_path) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelPackageError, match=r"not whole: model-00002-of-00002.safetensors, .* is missing; download it again"):
        SafetensorsFolder(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "sentence"),
    [
        ({"a": "model-00002-of-00002.safetensors"}, "model-00002-of-00002.safetensors has no tensor a, though"),
        ({"a": "../model.safetensors"}, "not a plain file name"),
        ({"a": "/etc/passwd"}, "not a plain file name"),
        ({"a": 5}, "5, which .* is missing"),
        ({}, "has no weight_map"),
        ([], "has no weight_map"),
    ],
)
def test_an_index_that_cannot_be_is_damage(tmp_path: Path, weight_map: Any, sentence: str) -> None:
    with pytest.raises(ModelPackageError, match=sentence):
        SafetensorsFolder(sharded(tmp_path, weight_map))


def test_a_folder_without_weights_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match=r"neither model.safetensors nor model.safetensors.index.json"):
        SafetensorsFolder(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UnsupportedModelError, match="pickled"):
        SafetensorsFolder(tmp_path)
