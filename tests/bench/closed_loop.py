"""A closed loop over an engine that is driven step by step: as soon as a request ends, the next one is handed in."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from bench.timeline import Timing
from bench.workload import Chat

Submit = Callable[[int, Chat], None]
Step = Callable[[], Iterable[tuple[int, bool]]]
"""Computes one step; yields the number of each request that got a token, and whether that was its last."""


def closed_loop(chats: Sequence[Chat], in_flight: int, submit: Submit, step: Step) -> list[Timing]:
    """Runs all chats with `in_flight` of them at a time."""
    pending = deque(enumerate(chats))
    timings: dict[int, Timing] = {}
    running = 0
    while pending or running:
        while pending and running < in_flight:
            index, chat = pending.popleft()
            timings[index] = Timing(time.perf_counter())
            submit(index, chat)
            running += 1
        for index, is_last in step():
            timings[index].arrive(time.perf_counter())
            running -= is_last
    return [timings[index] for index in range(len(chats))]
