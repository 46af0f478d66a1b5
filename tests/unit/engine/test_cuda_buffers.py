"""Rows in a device's memory keep what they hold through everything that happens to them."""

from typing import Any

import numpy as np
import pytest

from ai_assistant.engine.backends.cuda_buffers import DeviceKVBuffers
from unit.engine.host_memory import HostMemory

COUNT, HEADS, HEAD = 4, 3, 8
TOKEN = HEADS * HEAD * 2


def made(memory: HostMemory) -> DeviceKVBuffers:
    return DeviceKVBuffers(memory, COUNT, HEADS, HEAD, np.dtype(np.float16))


def rows(memory: HostMemory, buffers: DeviceKVBuffers, row: int) -> list[np.ndarray[Any, Any]]:
    """Row `row` [heads, capacity, head size] of every buffer, as a view into the memory."""
    found = []
    for address in buffers.addresses(row):
        start = max(block for block in memory.blocks if block <= address)
        view = memory.blocks[start][address - start :].view(np.float16)
        found.append(view[: np.prod(buffers.row_shape)].reshape(buffers.row_shape))
    return found


def fill(memory: HostMemory, buffers: DeviceKVBuffers, row: int, length: int) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(row)
    written = []
    for view in rows(memory, buffers, row):
        view[:, :length] = random.standard_normal((HEADS, length, HEAD))
        written.append(view[:, :length].copy())
    return written


def holds(memory: HostMemory, buffers: DeviceKVBuffers, row: int, wanted: list[np.ndarray[Any, Any]]) -> bool:
    length = wanted[0].shape[1]
    return all(np.array_equal(view[:, :length], want) for view, want in zip(rows(memory, buffers, row), wanted, strict=True))


def test_new_rows_are_zero_and_side_by_side() -> None:
    memory = HostMemory()
    buffers = made(memory)
    buffers.resize(3, 16, [])
    assert buffers.row_shape == (HEADS, 16, HEAD)
    first, second = buffers.addresses(0), buffers.addresses(1)
    assert [two - one for one, two in zip(first, second, strict=True)] == [16 * TOKEN] * COUNT
    assert not any(view.any() for view in rows(memory, buffers, 2))


@pytest.mark.parametrize(("num_rows", "capacity"), [(3, 64), (5, 20), (2, 16)])
def test_rows_survive_another_size(num_rows: int, capacity: int) -> None:
    memory = HostMemory()
    buffers = made(memory)
    buffers.resize(3, 24, [])
    kept = [fill(memory, buffers, 0, 15), fill(memory, buffers, 1, 9)]
    buffers.resize(num_rows, capacity, [15, 9])
    assert buffers.row_shape == (HEADS, capacity, HEAD)
    assert all(holds(memory, buffers, row, wanted) for row, wanted in enumerate(kept))
    assert (memory.num_read, len(memory.blocks)) == (0, COUNT + 1)


@pytest.mark.parametrize(("capacity", "fits"), [(32, True), (64, False)])
def test_rows_go_by_way_of_the_host_where_old_and_new_do_not_fit_together(capacity: int, fits: bool) -> None:
    memory = HostMemory(20_000)
    buffers = made(memory)
    buffers.resize(2, 30, [])
    kept = [fill(memory, buffers, 0, 15), fill(memory, buffers, 1, 9)]
    if fits:
        buffers.resize(2, capacity, [15, 9])
    else:
        with pytest.raises(MemoryError):
            buffers.resize(2, capacity, [15, 9])
    assert buffers.row_shape == (HEADS, capacity if fits else 30, HEAD)
    assert all(holds(memory, buffers, row, wanted) for row, wanted in enumerate(kept))
    assert memory.num_read == 2 * COUNT
    assert len(memory.blocks) == COUNT + 1


def test_an_engine_without_rows_stays_whole_when_nothing_fits() -> None:
    memory = HostMemory(10_000)
    buffers = made(memory)
    buffers.resize(1, 16, [])
    with pytest.raises(MemoryError):
        buffers.resize(1, 4096, [])
    assert buffers.row_shape == (HEADS, 16, HEAD)
    wanted = fill(memory, buffers, 0, 16)
    assert holds(memory, buffers, 0, wanted)


def test_rows_move_and_change_places_without_touching_others() -> None:
    memory = HostMemory()
    buffers = made(memory)
    buffers.resize(4, 32, [])
    zero, one, two = (fill(memory, buffers, row, 20 + row) for row in range(3))
    buffers.move(2, 3, 22)
    assert holds(memory, buffers, 3, two)
    buffers.swap(0, 1, 21)
    assert holds(memory, buffers, 0, one)
    assert holds(memory, buffers, 1, zero)
    assert holds(memory, buffers, 2, two)
    assert not rows(memory, buffers, 3)[0][:, 22:].any()


def test_a_dropped_engine_gives_its_memory_back() -> None:
    memory = HostMemory()
    buffers = made(memory)
    buffers.resize(2, 16, [])
    assert memory.used == COUNT * 2 * 16 * TOKEN + 16 * TOKEN
    del buffers
    assert memory.used == 0
