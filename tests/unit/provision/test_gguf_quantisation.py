"""Every kind of tensor that GGUF files are read in, against its block's definition written down here number by number."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf_writer import RandomDecoder, random_blocks

from ai_assistant.errors import UnsupportedModelError
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint
from ai_assistant.provision.gguf_file import GgufFile

ROWS, COLUMNS = 6, 512
Block = bytes


def half(block: Block, place: int) -> float:
    return float(struct.unpack_from("<e", block, place)[0])


def nibbles(packed: Block) -> list[int]:
    """The low halves of all bytes, then the high ones."""
    return [byte & 15 for byte in packed] + [byte >> 4 for byte in packed]


def bit(packed: Block, index: int) -> int:
    return packed[index // 8] >> index % 8 & 1


def q8_0(block: Block) -> Iterator[float]:
    yield from (half(block, 0) * value for value in struct.unpack_from("<32b", block, 2))


def q4_0(block: Block) -> Iterator[float]:
    yield from (half(block, 0) * (value - 8) for value in nibbles(block[2:]))


def q4_1(block: Block) -> Iterator[float]:
    yield from (half(block, 0) * value + half(block, 2) for value in nibbles(block[4:]))


def q5_0(block: Block) -> Iterator[float]:
    for index, value in enumerate(nibbles(block[6:])):
        yield half(block, 0) * ((value | bit(block[2:6], index) << 4) - 16)


def q5_1(block: Block) -> Iterator[float]:
    for index, value in enumerate(nibbles(block[8:])):
        yield half(block, 0) * (value | bit(block[4:8], index) << 4) + half(block, 2)


def pairs_of(values: Block, group: int) -> tuple[int, int]:
    """The 6-bit scale and minimum of one of eight groups of Q4_K and Q5_K, packed into 12 bytes."""
    if group < 4:
        return values[group] & 63, values[group + 4] & 63
    scale = values[group + 4] & 15 | values[group - 4] >> 6 << 4
    return scale, values[group + 4] >> 4 | values[group] >> 6 << 4


def q2_k(block: Block) -> Iterator[float]:
    scales, quants = block[:16], block[16:80]
    for index in range(256):
        half_of_block, rest = divmod(index, 128)
        shift, place = divmod(rest, 32)
        value = quants[half_of_block * 32 + place] >> 2 * shift & 3
        scale = scales[index // 16]
        yield half(block, 80) * (scale & 15) * value - half(block, 82) * (scale >> 4)


def q3_k(block: Block) -> Iterator[float]:
    mask, quants, packed = block[:32], block[32:96], block[96:108]
    for index in range(256):
        half_of_block, rest = divmod(index, 128)
        shift, place = divmod(rest, 32)
        value = quants[half_of_block * 32 + place] >> 2 * shift & 3
        high = mask[place] >> index // 32 & 1
        group = index // 16
        low_bits = packed[group % 8] >> (4 if group >= 8 else 0) & 15
        scale = low_bits | (packed[8 + group % 4] >> 2 * (group // 4) & 3) << 4
        yield half(block, 108) * (scale - 32) * (value - (0 if high else 4))


def q4_k(block: Block) -> Iterator[float]:
    for index in range(256):
        group, place = divmod(index, 32)
        byte = block[16 + group // 2 * 32 + place]
        scale, minimum = pairs_of(block[4:16], group)
        yield half(block, 0) * scale * (byte >> 4 if group % 2 else byte & 15) - half(block, 2) * minimum


def q5_k(block: Block) -> Iterator[float]:
    for index in range(256):
        group, place = divmod(index, 32)
        byte = block[48 + group // 2 * 32 + place]
        value = (byte >> 4 if group % 2 else byte & 15) + 16 * (block[16 + place] >> group & 1)
        scale, minimum = pairs_of(block[4:16], group)
        yield half(block, 0) * scale * value - half(block, 2) * minimum


def q6_k(block: Block) -> Iterator[float]:
    scales = struct.unpack_from("<16b", block, 192)
    for index in range(256):
        half_of_block, rest = divmod(index, 128)
        quarter, place = divmod(rest, 32)
        byte = block[half_of_block * 64 + (quarter % 2) * 32 + place]
        high = block[128 + half_of_block * 32 + place] >> 2 * quarter & 3
        value = (byte >> 4 if quarter >= 2 else byte & 15) | high << 4
        yield half(block, 208) * scales[index // 16] * (value - 32)


def f16(block: Block) -> Iterator[float]:
    yield half(block, 0)


def bf16(block: Block) -> Iterator[float]:
    yield struct.unpack("<f", b"\0\0" + block)[0]


def f32(block: Block) -> Iterator[float]:
    yield struct.unpack("<f", block)[0]


DEFINITIONS: dict[Kind, Callable[[Block], Iterator[float]]] = {
    Kind.F32: f32,
    Kind.F16: f16,
    Kind.BF16: bf16,
    Kind.Q8_0: q8_0,
    Kind.Q4_0: q4_0,
    Kind.Q4_1: q4_1,
    Kind.Q5_0: q5_0,
    Kind.Q5_1: q5_1,
    Kind.Q2_K: q2_k,
    Kind.Q3_K: q3_k,
    Kind.Q4_K: q4_k,
    Kind.Q5_K: q5_k,
    Kind.Q6_K: q6_k,
}


def by_definition(stored: np.ndarray[Any, Any], kind: Kind) -> np.ndarray[Any, Any]:
    _, width = gguf.GGML_QUANT_SIZES[kind]
    content = np.ascontiguousarray(stored).tobytes()
    blocks = (content[start : start + width] for start in range(0, len(content), width))
    return np.array([value for block in blocks for value in DEFINITIONS[kind](block)], np.float64)


def write(path: Path, stored: np.ndarray[Any, Any], kind: Kind) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("first", np.ones(3, np.float32))
    writer.add_tensor("values", stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", DEFINITIONS, ids=lambda kind: kind.name)
def test_a_tensor_is_what_its_definition_says(tmp_path: Path, kind: Kind) -> None:
    random = np.random.default_rng(kind)
    values = random.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    stored = random_blocks(kind, ROWS, COLUMNS, random) if kind.name.endswith("_K") else gguf.quantize(values, kind)
    read = GgufFile(write(tmp_path / "m.gguf", stored, kind)).tensor("values")
    assert (read.dtype, read.shape) == (np.float32, (ROWS, COLUMNS))
    expected = by_definition(stored, kind)
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(read.ravel(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "BF16", "F16"])
def test_a_quantised_tensor_is_near_the_original(tmp_path: Path, kind: str) -> None:
    values = np.random.default_rng(1).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    read = GgufFile(write(tmp_path / "m.gguf", gguf.quantize(values, Kind[kind]), Kind[kind])).tensor("values")
    error = np.sqrt(np.mean((read - values) ** 2))
    assert error < {"Q8_0": 0.01, "BF16": 0.004, "F16": 0.001}.get(kind, 0.12)


@pytest.mark.parametrize("kind", DEFINITIONS, ids=lambda kind: kind.name)
def test_a_whole_model_of_each_kind_is_read(tmp_path: Path, kind: Kind) -> None:
    """Rows are reordered only after they are whole values again."""
    sizes = {"hidden_size": 256, "head_dim": 64, "intermediate_size": 256}
    path = RandomDecoder("llama", sizes=sizes).write_gguf(tmp_path / "m.gguf", kind=kind)
    checkpoint, file = GgufCheckpoint(path), GgufFile(path)
    for weight, name in (("query", "attn_q"), ("value", "attn_v"), ("down", "ffn_down")):
        stored = file.tensor(f"blk.1.{name}.weight")
        read = checkpoint.layer(1, weight)
        assert np.isfinite(read).all()
        if weight == "query":
            # Row 1 of the first head is kept as row 2, next to its partner, row 33.
            np.testing.assert_array_equal(read[1], stored[2])
            np.testing.assert_array_equal(read[33], stored[3])
        else:
            np.testing.assert_array_equal(read, stored)


@pytest.mark.parametrize("kind", ["IQ4_NL", "IQ2_XS", "MXFP4", "TQ1_0", "Q8_1", "F64", "I32"])
def test_other_kinds_are_refused_by_name_before_anything_is_read(tmp_path: Path, kind: str) -> None:
    size, width = gguf.GGML_QUANT_SIZES[Kind[kind]]
    decoder = RandomDecoder("llama", sizes={"hidden_size": 256})
    tensors = decoder.tensors()
    rows, columns = tensors["blk.1.ffn_up.weight"].shape
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for key, value in decoder.metadata().items():
        if key != "general.architecture" and not isinstance(value, list):
            {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}[type(value)](key, value)
    for name, values in tensors.items():
        if name == "blk.1.ffn_up.weight":
            writer.add_tensor(name, np.zeros((rows, columns // size * width), np.uint8), raw_dtype=Kind[kind])
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedModelError, match=rf"blk.1.ffn_up.weight is stored as {kind}, .*choose .* Q8_0"):
        GgufCheckpoint(tmp_path / "m.gguf")
