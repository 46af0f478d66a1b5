"""Reads safetensors: names, shapes and one tensor at a time in fp32. It knows the container, not what a model is.

The library of that name has no numpy type for bf16, in which most checkpoints are. The bytes come from outside, so every
place in the header is compared with what the file has.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from ai_assistant.errors import ModelPackageError, UnsupportedModelError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_LENGTH_BYTES = 8
# The format's own limit.
_LARGEST_HEADER = 100_000_000
_BF16 = "BF16"
_DTYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), _BF16: np.dtype("<u2")}
_AGAIN = "download it again"


@dataclass(frozen=True)
class _Place:
    shape: tuple[int, ...]
    dtype: str
    start: int
    end: int


class SafetensorsFile:
    """One file. A tensor is mapped when it is asked for, so it costs memory only while its caller holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._places = self._read_header()
        except OSError as error:
            raise ModelPackageError(f"{path} cannot be read: {error.strerror}.") from error

    @property
    def tensor_names(self) -> frozenset[str]:
        return frozenset(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._places[name].shape

    def tensor(self, name: str) -> npt.NDArray[np.float32]:
        """The tensor in fp32; raises UnsupportedModelError for another type than F32, F16 and BF16."""
        place = self._places[name]
        dtype = _DTYPES.get(place.dtype)
        if dtype is None:
            raise UnsupportedModelError(
                f"Tensor {name} is stored as {place.dtype}, which is not supported; supported are {', '.join(_DTYPES)}."
            )
        if place.start == place.end:
            return np.zeros(place.shape, np.float32)
        raw = np.memmap(self.path, dtype, "r", offset=place.start, shape=place.shape)
        if place.dtype != _BF16:
            return np.asarray(raw, dtype=np.float32)
        # A bf16 number is the upper half of an fp32 number.
        widened = raw.astype(np.uint32)
        widened <<= 16
        return widened.view(np.float32)

    def _read_header(self) -> dict[str, _Place]:
        size = self.path.stat().st_size
        with self.path.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            begin = _LENGTH_BYTES + length
            if begin > size or length > _LARGEST_HEADER:
                raise self._damaged("it ends before its header does")
            content = stream.read(length)
        try:
            header = json.loads(content, object_pairs_hook=self._without_duplicates)
        except (ValueError, RecursionError) as error:
            raise self._damaged("its header is not JSON") from error
        if not isinstance(header, dict):
            raise self._damaged("its header is not an object")
        header.pop("__metadata__", None)
        places = {name: self._place(name, entry, begin) for name, entry in header.items()}
        end = begin
        # The format allows neither gaps nor overlaps, and so every damage to an offset shows.
        for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].end)):
            if place.start != end:
                raise self._damaged(f"tensor {name} does not begin where the one before it ends")
            end = place.end
        if end != size:
            raise self._damaged(f"its tensors end at {end} and it has {size} bytes")
        return places

    def _without_duplicates(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) != len(pairs):
            names = [name for name, _ in pairs]
            raise self._damaged(f"{next(name for name in names if names.count(name) > 1)} is there twice")
        return content

    def _place(self, name: str, entry: Any, begin: int) -> _Place:
        match entry:
            case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(first), int(last)]}:
                pass
            case _:
                raise self._damaged(f"the entry of tensor {name} makes no sense")
        if not all(type(length) is int and length >= 0 for length in shape) or not 0 <= first <= last:
            raise self._damaged(f"the entry of tensor {name} makes no sense")
        if dtype in _DTYPES and last - first != math.prod(shape) * _DTYPES[dtype].itemsize:
            raise self._damaged(f"tensor {name} of shape {tuple(shape)} has {last - first} bytes of {dtype}")
        return _Place(tuple(shape), dtype, begin + first, begin + last)

    def _damaged(self, what: str) -> ModelPackageError:
        return ModelPackageError(f"{self.path.name} is truncated or damaged ({what}); {_AGAIN}.")


class SafetensorsFolder:
    """All tensors of a checkpoint folder, from one file or from the shards that its index names."""

    def __init__(self, folder: Path) -> None:
        if (folder / SINGLE_FILE).exists():
            single = SafetensorsFile(folder / SINGLE_FILE)
            self._files = dict.fromkeys(single.tensor_names, single)
        elif (folder / INDEX_FILE).exists():
            self._files = _read_shards(folder)
        else:
            raise _no_weights(folder)

    @property
    def tensor_names(self) -> frozenset[str]:
        return frozenset(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._files[name].shape(name)

    def tensor(self, name: str) -> npt.NDArray[np.float32]:
        """See `SafetensorsFile.tensor`."""
        return self._files[name].tensor(name)


def _read_shards(folder: Path) -> dict[str, SafetensorsFile]:
    try:
        index = json.loads((folder / INDEX_FILE).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelPackageError(f"{INDEX_FILE} is not JSON; {_AGAIN}.") from error
    except OSError as error:
        raise ModelPackageError(f"{folder / INDEX_FILE} cannot be read: {error.strerror}.") from error
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places:
        raise ModelPackageError(f"{INDEX_FILE} has no weight_map; {_AGAIN}.")
    weight_map = {tensor: str(name) for tensor, name in places.items()}
    shards = {}
    for name in sorted(set(weight_map.values())):
        if PurePosixPath(name).name != name or "\\" in name or "\0" in name:
            raise ModelPackageError(f"{INDEX_FILE} names {name!r}, which is not a plain file name; it is damaged.")
        if not (folder / name).is_file():
            raise ModelPackageError(f"The model is not whole: {name}, which {INDEX_FILE} names, is missing; {_AGAIN}.")
        shards[name] = SafetensorsFile(folder / name)
    for tensor, name in weight_map.items():
        if tensor not in shards[name].tensor_names:
            raise ModelPackageError(f"{name} has no tensor {tensor}, though {INDEX_FILE} says so; {_AGAIN}.")
    return {tensor: shards[name] for tensor, name in weight_map.items()}


def _no_weights(folder: Path) -> ModelPackageError | UnsupportedModelError:
    if any(folder.glob("*.bin")) or any(folder.glob("*.pth")):
        return UnsupportedModelError(
            f"{folder} has its weights only as pickled PyTorch files, which can run any code and are never opened;"
            " choose a version of the model with safetensors or GGUF files."
        )
    return ModelPackageError(f"{folder} has neither {SINGLE_FILE} nor {INDEX_FILE}; the model is not whole.")
