"""Memory of one engine process with 16 slots: idle, per token of context, and how soon it is given back."""

from __future__ import annotations

import time

from bench.child import rss_mb
from bench.contenders.ours_engine import SLOTS, Engine
from bench.timeline import Values
from bench.workload import Chat, prompt_of

from ai_assistant.engine.model_runner import ModelRunner

CONTEXT_TOKENS = 400
_OUTPUT_TOKENS = 16
_PATIENCE_SECONDS = 10.0


def memory(runner: ModelRunner, chats: list[Chat]) -> Values:
    """`given_back_seconds` is how long after the last row's end three quarters of what the rows took was free again."""
    engine = Engine(runner)
    engine.answer(chats[0].prompt_ids, 8)  # whatever is set up once
    del engine
    idle = rss_mb()
    engine = Engine(runner)
    for index in range(SLOTS):
        engine.add(index, Chat("", "", prompt_of(chats, CONTEXT_TOKENS - _OUTPUT_TOKENS, start=index), _OUTPUT_TOKENS))
    peak, tokens = idle, 1
    while engine.engine.has_work:
        list(engine.step())
        held = sum(sequence.num_cached for sequence in engine.engine.scheduler.in_rows)
        if held >= tokens:
            peak, tokens = rss_mb(), held
    dropped = time.perf_counter()
    while rss_mb() > idle + (peak - idle) / 4 and time.perf_counter() - dropped < _PATIENCE_SECONDS:
        engine.engine.step()
        time.sleep(0.05)
    return {
        "idle_mb": idle,
        "context_tokens": tokens,
        "full_mb": peak,
        "kb_per_token": (peak - idle) * 1e3 / tokens,
        "given_back_seconds": time.perf_counter() - dropped,
        "after_mb": rss_mb(),
    }
