"""Our engine, driven step by step as a worker drives it."""

from __future__ import annotations

from collections.abc import Iterator

from bench.closed_loop import closed_loop
from bench.timeline import Timing
from bench.workload import Chat

from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_runner import ModelRunner
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import Sequence

SLOTS = 16
Answers = dict[str, list[int]]


class Engine:
    """A fresh engine over a runner that is loaded already, so that no run finds rows that an earlier one left behind."""

    def __init__(self, runner: ModelRunner, *, ignore_eos: bool = True, config: EngineConfig | None = None) -> None:
        self.engine = LLMEngine(runner, config or EngineConfig(num_slots=SLOTS))
        self.answers: Answers = {}
        self._ignore_eos = ignore_eos
        self._sequences: dict[str, Sequence] = {}

    def add(self, index: int, chat: Chat) -> None:
        sampling = SamplingParams(max_tokens=chat.output_tokens, temperature=0, ignore_eos=self._ignore_eos)
        sequence = Sequence(str(index), chat.prompt_ids, sampling)
        self._sequences[sequence.seq_id] = sequence
        self.engine.add(sequence)

    def step(self) -> Iterator[tuple[int, bool]]:
        output = self.engine.step()
        if output.failures:
            raise output.failures[0].error
        for token in output.tokens:
            if token.finish_reason is not None:
                self.answers[token.seq_id] = list(self._sequences.pop(token.seq_id).completion_ids)
            if token.token_id is not None:
                yield int(token.seq_id), token.finish_reason is not None

    def run(self, chats: list[Chat], in_flight: int) -> list[Timing]:
        return closed_loop(chats, in_flight, self.add, self.step)

    def answer(self, prompt_ids: list[int], output_tokens: int) -> Timing:
        """One request with nothing beside it."""
        return self.run([Chat("", "", prompt_ids, output_tokens)], 1)[0]
