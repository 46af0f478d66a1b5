"""Memory of one engine process with 16 slots: idle, per token of context, and how soon it is given back."""

from __future__ import annotations

import time

from bench.child import rss_mb
from bench.contenders.ours_engine import SLOTS, Engine
from bench.timeline import Values
from bench.workload import Chat, prompt_of

from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.model_runner import ModelRunner

PROMPT_TOKENS = 400
_PATIENCE_SECONDS = 10.0


def memory(runner: ModelRunner, chats: list[Chat]) -> Values:
    """`given_back_seconds` is how long after the last row was dropped three quarters of what the rows took were free again."""
    engine = Engine(runner, config=_config())
    engine.answer(chats[0].prompt_ids, 8)  # whatever is set up once
    _idle(engine)
    idle = rss_mb()
    for index in range(SLOTS):
        chat = Chat("", "", prompt_of(chats, PROMPT_TOKENS, start=index), engine.engine.max_context - PROMPT_TOKENS)
        engine.add(index, chat)
    waiting, tokens = set(map(str, range(SLOTS))), 0
    while waiting:
        output = engine.engine.step()
        waiting -= {token.seq_id for token in output.tokens}
        tokens = output.stats.kv_tokens
    full = rss_mb()
    for index in range(SLOTS):
        engine.engine.cancel(str(index))
    dropped = time.perf_counter()
    while engine.engine.has_work:
        engine.engine.step()
    while rss_mb() > idle + (full - idle) / 4 and time.perf_counter() - dropped < _PATIENCE_SECONDS:
        _idle(engine)
        time.sleep(0.02)
    return {
        "idle_mb": idle,
        "context_tokens": tokens,
        "full_mb": full,
        "kb_per_token": (full - idle) * 1e3 / tokens,
        "given_back_seconds": time.perf_counter() - dropped,
        "after_mb": rss_mb(),
    }


def _config() -> EngineConfig:
    """A row is dropped when its sequence ends, instead of being kept for the next turn of its conversation."""
    return EngineConfig(num_slots=SLOTS, park_seconds=0.0)


def _idle(engine: Engine) -> None:
    """What a worker does between two requests."""
    engine.engine.tidy()
