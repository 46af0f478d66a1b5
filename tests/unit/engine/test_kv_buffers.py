"""Rows in this machine's memory: what is moved arrives, what is freed is given back."""

from pathlib import Path

import numpy as np
import pytest

from ai_assistant.engine.backends.kv_buffers import KVBuffers
from ai_assistant.engine.backends.pages import PageMover

HEADS, HEAD_SIZE, LAYER_PARTS = 3, 64, 4
TOKEN_BYTES = HEADS * HEAD_SIZE * 4 * LAYER_PARTS


def filled(num_rows: int = 4, capacity: int = 512) -> KVBuffers:
    """Row r holds r + 1 everywhere."""
    buffers = KVBuffers(LAYER_PARTS, HEADS, HEAD_SIZE, np.dtype(np.float32))
    buffers.resize(num_rows, capacity, [])
    for array in buffers.arrays:
        array[:] = np.arange(1, num_rows + 1, dtype=np.float32)[:, None, None, None]
    return buffers


def rows(buffers: KVBuffers, length: int) -> list[float]:
    """What every row holds in its first `length` tokens, if it is the same number everywhere."""
    found = np.stack([array[:, :, :length] for array in buffers.arrays])
    assert (found == found[:1, :, :1, :1, :1]).all()
    return [float(value) for value in found[0, :, 0, 0, 0]]


@pytest.mark.parametrize("by_page_tables", [True, False])
def test_rows_are_exchanged_again_and_again(by_page_tables: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not by_page_tables:
        monkeypatch.setattr(PageMover, "exchange", lambda *_: False)
    buffers = filled()
    addresses = [array.ctypes.data for array in buffers.arrays]
    for _ in range(51):
        buffers.swap(0, 2, 512)
        buffers.swap(2, 3, 512)
        buffers.swap(3, 0, 512)
    buffers.swap(0, 1, 512)
    assert rows(buffers, 512) == [2, 1, 4, 3]
    assert [array.ctypes.data for array in buffers.arrays] == addresses


@pytest.mark.parametrize("refused", range(1, 4))
def test_nothing_is_lost_when_the_kernel_refuses_in_the_middle(refused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    buffers, calls = filled(), 0
    move = PageMover._move

    def limited(self: PageMover, source: object, target: object) -> bool:
        nonlocal calls
        calls += 1
        return calls != refused and move(self, source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(PageMover, "_move", limited)
    buffers.swap(0, 1, 512)
    assert rows(buffers, 512) == [2, 1, 3, 4]


def test_a_prefix_is_copied_and_growing_keeps_the_rows() -> None:
    buffers = filled()
    buffers.move(3, 1, 40)
    assert rows(buffers, 40) == [1, 4, 3, 4]
    buffers.resize(2, 1000, [40, 40])
    assert rows(buffers, 40) == [1, 4]
    assert all(array.shape[2] >= 1000 for array in buffers.arrays)


def resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


def test_memory_is_taken_by_tokens_and_given_back_at_once() -> None:
    buffers = KVBuffers(LAYER_PARTS, HEADS, HEAD_SIZE, np.dtype(np.float32))
    before = resident_bytes()
    buffers.resize(8, 8192, [])
    assert resident_bytes() - before < 2**20
    for array in buffers.arrays:
        array[2, :, :6000] = 1
    assert resident_bytes() - before == pytest.approx(6000 * TOKEN_BYTES, rel=0.05)
    buffers.swap(2, 5, 6000)
    assert resident_bytes() - before == pytest.approx(6000 * TOKEN_BYTES, rel=0.05)
    buffers.free(5, 1000)
    assert resident_bytes() - before == pytest.approx(1000 * TOKEN_BYTES, rel=0.1)
    assert all((array[5, :, :1000] == 1).all() for array in buffers.arrays)
    buffers.free(5, 0)
    assert resident_bytes() - before < 2**20
