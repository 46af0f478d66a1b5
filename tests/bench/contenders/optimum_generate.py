"""optimum: `ORTModelForCausalLM.generate` in fp32, one chat after the other, and in static batches padded on the left."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from bench.child import Emit, main, rss_mb
from bench.job import SINGLE_OUTPUT_TOKENS, SINGLE_PROMPT_TOKENS, Job
from bench.timeline import Timing, single, summary
from bench.workload import Chat, prompt_of
from optimum.onnxruntime import ORTModelForCausalLM
from transformers import StoppingCriteria, StoppingCriteriaList

PAD_ID = 2


class _Clock(StoppingCriteria):  # type: ignore[misc]
    """Asked after every token; it never stops anything."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self.times.append(time.perf_counter())
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def generate(model: Any, chats: list[Chat]) -> list[Timing]:
    """One static batch; a row goes on until the longest answer is complete, and what it makes beyond its own is not counted."""
    longest = max(len(chat.prompt_ids) for chat in chats)
    ids = [[PAD_ID] * (longest - len(chat.prompt_ids)) + chat.prompt_ids for chat in chats]
    mask = [[0] * (longest - len(chat.prompt_ids)) + [1] * len(chat.prompt_ids) for chat in chats]
    clock, submitted = _Clock(), time.perf_counter()
    model.generate(
        input_ids=torch.tensor(ids),
        attention_mask=torch.tensor(mask),
        max_new_tokens=max(chat.output_tokens for chat in chats),
        do_sample=False,
        stopping_criteria=StoppingCriteriaList([clock]),
    )
    return [Timing(submitted, clock.times[: chat.output_tokens], chat.output_tokens) for chat in chats]


def run_mixed(model: Any, chats: list[Chat], in_flight: int) -> list[Timing]:
    groups = [chats[start : start + in_flight] for start in range(0, len(chats), in_flight)]
    return [timing for group in groups for timing in generate(model, group)]


def run(job: Job, emit: Emit) -> None:
    torch.set_num_threads(job.threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    started = time.perf_counter()
    model = ORTModelForCausalLM.from_pretrained(Path(job.model), session_options=options)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = PAD_ID
    emit("load", {"seconds": time.perf_counter() - started, "rss_mb": rss_mb()})
    chats = job.chats()
    generate(model, [Chat("", "", chats[0].prompt_ids, 4)])
    if job.single_repeats:
        prompts = [prompt_of(chats, SINGLE_PROMPT_TOKENS, start) for start in range(job.single_repeats)]
        emit("single", single([generate(model, [Chat("", "", ids, SINGLE_OUTPUT_TOKENS)])[0] for ids in prompts]))
    one_by_one: list[Timing] = []
    for mixed in job.mixed:
        if mixed.in_flight == 1 and mixed.num_chats <= len(one_by_one):
            # Nothing runs beside a chat, so the first chats of a longer run are the shorter run.
            timings = one_by_one[: mixed.num_chats]
        else:
            timings = run_mixed(model, chats[: mixed.num_chats], mixed.in_flight)
        if mixed.in_flight == 1:
            one_by_one = max(one_by_one, timings, key=len)
        wanted = [chat.output_tokens for chat in chats[: mixed.num_chats]]
        if [len(timing.arrivals) for timing in timings] != wanted:
            raise RuntimeError("generate() stopped before the asked number of tokens.")
        emit(mixed.measure, {**summary(timings), "rss_mb": rss_mb()})


if __name__ == "__main__":
    main(run)
