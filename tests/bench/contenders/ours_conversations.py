"""What only a server of conversations is asked: how quick a second turn is, and whether a long prompt disturbs the others."""

from __future__ import annotations

import time

from bench.contenders.ours_engine import Engine
from bench.timeline import Timing, Values, intervals, median, percentile
from bench.workload import Chat, prompt_of

from ai_assistant.engine.model_runner import ModelRunner

CONVERSATION_TOKENS = 600
_ANSWER_TOKENS = 60
_QUESTION_TOKENS = 30

LONG_PROMPT_TOKENS = 6000
NEIGHBOURS = 8
_WARM_STEPS = 60


def second_turn(runner: ModelRunner, chats: list[Chat], *, repeats: int) -> Values:
    """Time to the first token of the turn after a conversation of 600 tokens: in the engine that had the first turn, and in
    one that has never seen it."""
    warm, cold = [], []
    for repeat in range(repeats):
        first = prompt_of(chats, CONVERSATION_TOKENS - _ANSWER_TOKENS, start=3 * repeat)
        engine = Engine(runner)
        engine.answer(first, _ANSWER_TOKENS)
        question = prompt_of(chats, _QUESTION_TOKENS, start=3 * repeat + 1)
        second = [*first, *engine.answers["0"], *question]
        warm.append(_wait(engine.answer(second, 2)))
        cold.append(_wait(Engine(runner).answer(second, 2)))
    return {
        "conversation_tokens": CONVERSATION_TOKENS,
        "new_tokens": _QUESTION_TOKENS,
        "warm_ttft_ms": median(warm) * 1e3,
        "cold_ttft_ms": median(cold) * 1e3,
    }


def long_prompt(runner: ModelRunner, chats: list[Chat]) -> Values:
    """Inter-token times of 8 running chats while a prompt of 6,000 tokens is read, and of the same tokens without it."""
    engine, beside = _neighbours(runner, chats)
    beside[NEIGHBOURS] = long = Timing(time.perf_counter())
    engine.add(NEIGHBOURS, Chat("", "", prompt_of(chats, LONG_PROMPT_TOKENS, start=5), 2))
    while not long.arrivals:
        _step(engine, beside)
    during = intervals(beside[index] for index in range(NEIGHBOURS))
    # The chats grow meanwhile, and their steps with them, so what they are compared with has to be as long.
    engine, alone = _neighbours(runner, chats)
    while len(alone[0].arrivals) < len(beside[0].arrivals):
        _step(engine, alone)
    return {
        "neighbours": NEIGHBOURS,
        "prompt_tokens": LONG_PROMPT_TOKENS,
        "prompt_seconds": _wait(long),
        "quiet_itl_p50_ms": median(intervals(alone.values())) * 1e3,
        "itl_p50_ms": median(during) * 1e3,
        "itl_p99_ms": percentile(during, 99) * 1e3,
        "itl_max_ms": max(during) * 1e3,
    }


def _neighbours(runner: ModelRunner, chats: list[Chat]) -> tuple[Engine, dict[int, Timing]]:
    """An engine with 8 chats that have begun to answer; their next tokens are to be noted."""
    engine = Engine(runner)
    room = engine.engine.max_context - 300
    timings = {}
    for index in range(NEIGHBOURS):
        engine.add(index, Chat("", "", chats[index].prompt_ids, room))
        timings[index] = Timing(time.perf_counter())
    while min(len(timing.arrivals) for timing in timings.values()) < _WARM_STEPS:
        _step(engine, timings)
    return engine, {index: Timing(0.0, [timing.arrivals[-1]]) for index, timing in timings.items()}


def _step(engine: Engine, timings: dict[int, Timing]) -> None:
    for index, _ in engine.step():
        timings[index].arrive(time.perf_counter())


def _wait(timing: Timing) -> float:
    return timing.arrivals[0] - timing.submitted
