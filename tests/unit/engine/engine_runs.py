"""Running an engine to its end, and what a sequence must answer by the plainest means."""

import random
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from ai_assistant.engine.backends.fake import FakeRunner
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.sampler import sample
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import FinishReason, Sequence
from ai_assistant.engine.step_output import StepOutput
from ai_assistant.errors import ModelError

GREEDY = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True)
CREATIVE = SamplingParams(max_tokens=20, temperature=0.9, top_p=0.95, seed=7, presence_penalty=0.5, repetition_penalty=1.2)


class Collected:
    """Everything an engine said, by sequence."""

    def __init__(self) -> None:
        self.token_ids: dict[str, list[int]] = defaultdict(list)
        self.reasons: dict[str, FinishReason] = {}
        self.failures: dict[str, ModelError] = {}
        self.steps: list[StepOutput] = []

    def take(self, output: StepOutput) -> None:
        self.steps.append(output)
        assert len({token.seq_id for token in output.tokens}) == len(output.tokens), "more than one output per step"
        for token in output.tokens:
            assert token.seq_id not in self.reasons, "output after the end"
            if token.token_id is not None:
                self.token_ids[token.seq_id].append(token.token_id)
            if token.finish_reason is not None:
                self.reasons[token.seq_id] = token.finish_reason
        self.failures.update({failure.seq_id: failure.error for failure in output.failures})


def run(engine: LLMEngine, sequences: Iterable[Sequence] = ()) -> Collected:
    collected = Collected()
    for sequence in sequences:
        engine.add(sequence)
    while engine.has_work:
        collected.take(engine.step())
        assert len(collected.steps) < 20_000, "the engine does not come to an end"
    return collected


def expected(prompt: list[int], sampling: SamplingParams, *, runner: FakeRunner | None = None) -> list[int]:
    """The answer by the plainest means: all tokens read again for every token, without engine, batch or cache."""
    runner = runner or FakeRunner()
    runner.resize(1, 4096, [])
    sequence = Sequence("expected", prompt, sampling)
    while sequence.finish_reason(runner.eos_token_ids, 4096) is None:
        logits = runner.prefill(0, [*prompt, *sequence.completion_ids], 0)
        sequence.completion_ids.append(sample(logits[np.newaxis], [sequence], [0])[0].token_id)
    return sequence.completion_ids


def some_prompt(rng: random.Random, longest: int = 60) -> list[int]:
    return [rng.randrange(1, 256) for _ in range(rng.randint(1, longest))]
