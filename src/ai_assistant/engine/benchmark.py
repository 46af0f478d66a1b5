"""How fast a model runs on this machine: the wait for the first token, and the speed of one and of several sequences at once."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_runner import ModelRunner
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import Sequence
from ai_assistant.errors import InvalidRequestError

_SHORT_PROMPT = 64
_REPEATS = 3

Clock = Callable[[], float]


def first_token_seconds(runner: ModelRunner, prompt_tokens: int, *, clock: Clock = time.perf_counter) -> float:
    """The median time from a request with a prompt of that length to its first token, with nothing beside it."""
    waits = []
    for repeat in range(_REPEATS + 1):
        engine = _engine(runner, num_slots=1)
        sequence = _sequence(runner, prompt_tokens, max_tokens=1, number=repeat)
        _check_room(engine, prompt_tokens, 1)
        started = clock()
        engine.add(sequence)
        while engine.has_work:
            _step(engine)
        waits.append(clock() - started)
    # The first one also pays for what is set up once.
    return statistics.median(waits[1:])


def decode_speed(runner: ModelRunner, batch: int, tokens: int, *, clock: Clock = time.perf_counter) -> float:
    """Tokens per second of `batch` sequences together while each of them grows by `tokens`; prompts are read before that."""
    engine = _engine(runner, num_slots=batch)
    prompt_tokens = min(_SHORT_PROMPT, engine.max_context // 4)
    _check_room(engine, prompt_tokens, tokens)
    room = engine.max_context - prompt_tokens
    sequences = [_sequence(runner, prompt_tokens, max_tokens=room, number=number) for number in range(batch)]
    for sequence in sequences:
        engine.add(sequence)
    while not all(sequence.completion_ids for sequence in sequences):
        _step(engine)
    started, made = clock(), 0
    while made < batch * tokens and engine.has_work:
        made += _step(engine)
    return made / (clock() - started)


def resident_bytes() -> int:
    """Memory of this process: as it is where the system tells, else its highest so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _engine(runner: ModelRunner, num_slots: int) -> LLMEngine:
    """A fresh one, so that nothing is known of earlier prompts."""
    return LLMEngine(runner, EngineConfig(num_slots=num_slots))


def _sequence(runner: ModelRunner, length: int, *, max_tokens: int, number: int) -> Sequence:
    """A prompt of random ids: no two begin alike, and a model takes as long for them as for words."""
    numbers = random.Random(f"{length} {number}")  # noqa: S311
    prompt_ids = [numbers.randrange(runner.vocab_size) for _ in range(length)]
    sampling = SamplingParams(max_tokens=max_tokens, temperature=0, ignore_eos=True)
    return Sequence(str(number), prompt_ids, sampling)


def _step(engine: LLMEngine) -> int:
    output = engine.step()
    if output.failures:
        raise output.failures[0].error
    return sum(token.token_id is not None for token in output.tokens)


def _check_room(engine: LLMEngine, prompt_tokens: int, tokens: int) -> None:
    if prompt_tokens + tokens > engine.max_context:
        raise InvalidRequestError(
            f"{prompt_tokens} tokens of prompt and {tokens} of answer do not fit into the {engine.max_context} that the model "
            "takes; ask for fewer."
        )
