"""Our engine by itself: one process, 16 slots, no queue and no HTTP."""

from __future__ import annotations

import time

from bench.child import Emit, main, rss_mb
from bench.contenders.ours_conversations import long_prompt, second_turn
from bench.contenders.ours_engine import SLOTS, Answers, Engine
from bench.contenders.ours_memory import memory
from bench.job import SINGLE_OUTPUT_TOKENS, SINGLE_PROMPT_TOKENS, Job
from bench.timeline import single, summary
from bench.workload import prompt_of

from ai_assistant.engine.backends import load_runner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.model_package import load_package


def run(job: Job, emit: Emit) -> None:
    started = time.perf_counter()
    runner = load_runner(load_package(job.model), EngineConfig(num_slots=SLOTS), job.threads)
    engine = Engine(runner)
    emit("load", {"seconds": time.perf_counter() - started, "rss_mb": rss_mb()})
    chats = job.chats()
    if "memory" in job.extras:
        emit("memory", memory(runner, chats))
    engine.run(chats[:2], 2)
    if job.single_repeats:
        prompts = [prompt_of(chats, SINGLE_PROMPT_TOKENS, start) for start in range(job.single_repeats)]
        emit("single", single([Engine(runner).answer(prompt, SINGLE_OUTPUT_TOKENS) for prompt in prompts]))
    alone: Answers = {}
    for mixed in job.mixed:
        engine = Engine(runner)
        timings = engine.run(chats[: mixed.num_chats], mixed.in_flight)
        alone = alone or engine.answers
        same = sum(engine.answers[number] == ids for number, ids in alone.items())
        emit(mixed.measure, {**summary(timings), "rss_mb": rss_mb(), "compared_answers": len(alone), "identical_answers": same})
    if "second-turn" in job.extras:
        emit("second-turn", second_turn(runner, chats, repeats=2 if job.is_quick else 5))
    if "long-prompt" in job.extras:
        emit("long-prompt", long_prompt(runner, chats))


if __name__ == "__main__":
    main(run)
