"""onnxruntime-genai: its `Engine` over the int4 model of its own builder, on CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime_genai as og
from bench.child import Emit, main, rss_mb
from bench.closed_loop import closed_loop
from bench.job import SINGLE_OUTPUT_TOKENS, SINGLE_PROMPT_TOKENS, Job
from bench.timeline import Timing, single, summary
from bench.workload import Chat, prompt_of

_EVENTS = 64


class Engine:
    """Its events, as the closed loop wants them."""

    def __init__(self, model: Any) -> None:
        self._engine = og.Engine(model)
        self._events = self._engine.create_event_buffer(_EVENTS)
        self._requests: list[tuple[Any, int]] = []

    def add(self, index: int, chat: Chat) -> None:
        request = self._engine.create_request()
        options = og.TurnOptions(request)
        options.set_do_sample(False)
        options.set_min_generated_tokens(chat.output_tokens)
        options.set_max_generated_tokens(chat.output_tokens)
        request.begin_turn(np.asarray(chat.prompt_ids, np.int32), options)
        self._requests.append((request, index))

    def step(self) -> Iterator[tuple[int, bool]]:
        for event in self._engine.run(self._events):
            if event.flags & og.EngineEventFlags.FAILED:
                raise RuntimeError(f"The engine lost a request: {event.error_code}")
            place, index = next((place, i) for place, (known, i) in enumerate(self._requests) if known is event.request)
            is_last = bool(event.flags & og.EngineEventFlags.TURN_FINISHED)
            if is_last:
                self._requests.pop(place)[0].close()
            if event.flags & og.EngineEventFlags.TOKEN:
                yield index, is_last

    def run(self, chats: list[Chat], in_flight: int) -> list[Timing]:
        return closed_loop(chats, in_flight, self.add, self.step)


def run(job: Job, emit: Emit) -> None:
    started = time.perf_counter()
    model = og.Model(job.model)
    engine = Engine(model)
    emit("load", {"seconds": time.perf_counter() - started, "rss_mb": rss_mb()})
    chats = job.chats()
    engine.run([Chat("", "", chats[0].prompt_ids, 4)], 1)
    if job.single_repeats:
        prompts = [prompt_of(chats, SINGLE_PROMPT_TOKENS, start) for start in range(job.single_repeats)]
        emit("single", single([engine.run([Chat("", "", ids, SINGLE_OUTPUT_TOKENS)], 1)[0] for ids in prompts]))
    for mixed in job.mixed:
        timings = engine.run(chats[: mixed.num_chats], mixed.in_flight)
        if [timing.num_tokens for timing in timings] != [chat.output_tokens for chat in chats[: mixed.num_chats]]:
            raise RuntimeError("The engine stopped before the asked number of tokens.")
        emit(mixed.measure, {**summary(timings), "rss_mb": rss_mb()})


if __name__ == "__main__":
    main(run)
