"""Whatever is wrong with a GGUF file ends in one sentence of ours, soon, and in little memory."""

import resource
import struct
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_writer import TOKENS, RandomDecoder

from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.errors import AssistantError, ModelPackageError, UnsupportedModelError
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint
from ai_assistant.provision.gguf_file import GgufFile

HUGE = 1 << 60
TEXT, ARRAY, UINT8, FLOAT32 = 8, 9, 0, 0
Tensor = tuple[str, Sequence[int], int, int]


def text(content: str) -> bytes:
    return struct.pack("<Q", len(content)) + content.encode()


def entry(key: str, kind: int, content: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + content


def file(*entries: bytes, tensors: Sequence[Tensor] = (), data: int = 0, counts: tuple[int, int] | None = None) -> bytes:
    """A file by the specification, with the numbers that are asked for; `tensors` are name, dimensions, kind and offset."""
    head = b"GGUF" + struct.pack("<IQQ", 3, *(counts or (len(tensors), len(entries)))) + b"".join(entries)
    for name, dimensions, kind, offset in tensors:
        shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        head += text(name) + shape + struct.pack("<IQ", kind, offset)
    return head + bytes(-len(head) % 32) + bytes(data)


def place(name: str, dimensions: Sequence[int] = (8,), kind: int = FLOAT32, offset: int = 0) -> Tensor:
    return name, dimensions, kind, offset


DAMAGED = {
    "too many tensors": (file(counts=(HUGE, 0)), "announces more than it holds"),
    "too many entries": (file(counts=(0, HUGE)), "announces more than it holds"),
    "a huge text": (file(entry("key", TEXT, struct.pack("<Q", HUGE) + b"abc")), "ends too early"),
    "a huge key": (file(struct.pack("<Q", HUGE) + b"key"), "ends too early"),
    "a huge list of numbers": (file(entry("key", ARRAY, struct.pack("<IQ", UINT8, HUGE))), "announces more than it holds"),
    "a huge list of texts": (file(entry("key", ARRAY, struct.pack("<IQ", TEXT, HUGE))), "announces more than it holds"),
    "lists in lists": (file(entry("key", ARRAY, struct.pack("<IQ", ARRAY, 1))), "metadata of the type 9"),
    "an unknown type": (file(entry("key", 77, bytes(8))), "metadata of the type 77"),
    "an entry twice": (file(entry("key", TEXT, text("a")), entry("key", TEXT, text("b"))), "metadata key is there twice"),
    "text that is not UTF-8": (file(entry("key", TEXT, struct.pack("<Q", 2) + b"\xff\xfe")), "a text in it is not UTF-8"),
    "a name that is not UTF-8": (file(struct.pack("<Q", 1) + b"\xff" + bytes(20)), "a text in it is not UTF-8"),
    "no alignment": (file(entry("general.alignment", 4, struct.pack("<I", 0))), "its alignment is 0"),
    "an odd alignment": (file(entry("general.alignment", 4, struct.pack("<I", 48))), "its alignment is 48"),
    "alignment in words": (file(entry("general.alignment", TEXT, text("x"))), "its alignment is x"),
    "no dimensions": (file(tensors=[place("t", ())]), "tensor t has 0 dimensions"),
    "five dimensions": (file(tensors=[place("t", (1,) * 5)]), "tensor t has 5 dimensions"),
    "a huge number of dimensions": (file(tensors=[place("t", (1,) * 90)]), "tensor t has 90 dimensions"),
    "an empty tensor": (file(tensors=[place("t", (4, 0))]), "tensor t is empty"),
    "a tensor twice": (file(tensors=[place("t"), place("t", offset=32)], data=64), "tensor t is there twice"),
    "a huge tensor": (file(tensors=[place("t", (HUGE, HUGE))], data=64), "tensor t lies beyond its end"),
    "a tensor far away": (file(tensors=[place("t", offset=HUGE)], data=64), "tensor t lies beyond its end"),
    "a tensor that is cut": (file(tensors=[place("t", (16,))], data=60), "tensor t lies beyond its end"),
    "overlapping tensors": (file(tensors=[place("t", (16,)), place("u", offset=32)], data=96), "tensors t and u overlap"),
    "the same place twice": (file(tensors=[place("t"), place("u")], data=96), "tensors t and u overlap"),
    "an offset in between": (file(tensors=[place("t", offset=4)], data=96), "tensor t starts at 4, which is no multiple of 32"),
    "half a block": (file(tensors=[place("t", (16,), 8)], data=96), "tensor t has rows of 16 values in blocks of 32"),
}


@pytest.mark.parametrize(("content", "sentence"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named_in_little_memory(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ModelPackageError, match=f"m.gguf is truncated or damaged .*{sentence}.*download it again"):
            GgufFile(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_what_is_written_by_hand_here_is_read(tmp_path: Path) -> None:
    """So the refusals above are about what they say."""
    path = tmp_path / "m.gguf"
    path.write_bytes(file(entry("key", TEXT, text("a")), tensors=[place("t"), place("u", (2, 4), offset=32)], data=64))
    read = GgufFile(path)
    assert read.text("key") == "a"
    assert (read.shape("t"), read.shape("u")) == ((8,), (4, 2))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PK\x03\x04 a zip", "is not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(40), "is GGUF version 1; supported are 2 and 3"),
        (b"GGUF" + struct.pack("<I", 4) + bytes(40), "is GGUF version 4"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(40), "is big-endian GGUF"),
        (b"GGUF" + struct.pack(">I", 2) + bytes(40), "is big-endian GGUF"),
        (file(tensors=[place("t", kind=199)], data=96), "Tensor t is stored as type 199"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=sentence):
        GgufFile(path)


@pytest.mark.parametrize("kept", [0, 3, 4, 7, 20, 200, 5000, -1, -4096])
def test_a_truncated_file_is_refused(tiny_gguf: Path, tmp_path: Path, kept: int) -> None:
    damaged = tmp_path / "cut.gguf"
    damaged.write_bytes(tiny_gguf.read_bytes()[:kept])
    with pytest.raises(ModelPackageError, match=r"cut.gguf is truncated or damaged .*download it again"):
        GgufCheckpoint(damaged)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match=r"none.gguf cannot be read: No such file"):
        GgufFile(tmp_path / "none.gguf")


def of_sentencepiece() -> dict[str, object]:
    kinds = [2, 3, 3] + [1] * (len(TOKENS) - 3)
    pieces = ["<unk>", "<s>", "</s>", "▁", *"abcdefgh", "▁a", "▁ab", "ab", "cd"]
    pieces += [f"t{index}" for index in range(len(TOKENS) - len(pieces))]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [float(-index) for index in range(len(pieces))],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def changes(content: bytes, cases: int, seed: int) -> Iterator[bytes]:
    """Files with wrong bytes, most of them in the head, where a length may become billions; some cut short as well."""
    random = np.random.default_rng(seed)
    head = content.index(b"blk.1.ffn_down.weight")
    for case in range(cases):
        changed = bytearray(content)
        for position in random.integers(0, len(content) if case % 8 == 0 else head, random.integers(1, 5)):
            changed[position] = random.choice([0, 1, 0x7F, 0xFF, random.integers(256)])
        yield bytes(changed[: random.integers(len(content))] if case % 5 == 0 else changed)


@pytest.mark.parametrize(
    ("family", "tokenizer"),
    [("llama", {}), ("qwen3", {}), ("llama", of_sentencepiece())],
    ids=["llama", "qwen3", "sentencepiece"],
)
def test_no_damage_is_a_surprise_or_takes_long(tmp_path: Path, family: str, tokenizer: dict[str, object]) -> None:
    path = RandomDecoder(family).write_gguf(tmp_path / "m.gguf", metadata=tokenizer)
    GgufCheckpoint(path).tokenizer()
    sentences, longest, before = [], 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in changes(path.read_bytes(), 150, seed=len(family)):
        path.write_bytes(content)
        began = time.perf_counter()
        try:
            checkpoint = GgufCheckpoint(path)
            files = checkpoint.tokenizer()
            checkpoint.layer(0, "query")
            checkpoint.embedding()
            Tokenizer(files.tokenizer_json, chat_template=files.chat_template).encode("a bc</s> the")
        except AssistantError as error:
            sentences.append(error.message)
        longest = max(longest, time.perf_counter() - began)
    assert len(sentences) > 50
    assert all(sentence.endswith(".") for sentence in sentences)
    assert longest < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000, "kilobytes"


@pytest.mark.parametrize("kind", ["F32", "BF16", "Q8_0", "Q4_1"])
def test_a_tensor_costs_little_more_than_itself(tmp_path: Path, kind: str) -> None:
    rows, columns = 8192, 1024
    stored = gguf.GGMLQuantizationType[kind]
    size, width = gguf.GGML_QUANT_SIZES[stored]
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for name in ("first", "second"):
        writer.add_tensor(name, np.zeros((rows, columns // size * width), np.uint8), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    whole = rows * columns * 4
    tracemalloc.start()
    try:
        read = GgufFile(tmp_path / "m.gguf")
        for name in ("first", "second"):
            assert read.tensor(name).shape == (rows, columns)
        assert tracemalloc.get_traced_memory()[1] < (0.01 if kind == "F32" else 1.5) * whole
    finally:
        tracemalloc.stop()
