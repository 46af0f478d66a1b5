"""Random schedules of a small engine: whatever happens beside it, every answer is the model's own. The soak runs thousands."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from ai_assistant.engine.backends.fake import FakeRunner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_runner import Logits, TokenIds
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import FinishReason, Sequence
from ai_assistant.errors import ModelError
from unit.engine.engine_runs import Collected, expected

SCHEDULES, PARTS = 320, 8


class MoodyRunner(FakeRunner):
    """Takes time that nobody can foresee, and fails now and then before it has changed anything."""

    def __init__(self, rng: random.Random, failures: float, pad: int) -> None:
        super().__init__(max_positions=600, pad_rows_to_multiple=pad)
        self.now, self._rng, self._failures = 0.0, rng, failures

    def prefill(self, row: int, token_ids: TokenIds, past: int) -> Logits:
        self._live()
        return super().prefill(row, token_ids, past)

    def decode(self, token_ids: list[int], lengths: list[int]) -> Logits:
        self._live()
        return super().decode(token_ids, lengths)

    def resize(self, num_rows: int, capacity: int, lengths: list[int]) -> None:
        self._live()
        super().resize(num_rows, capacity, lengths)

    def _live(self) -> None:
        self.now += self._rng.lognormvariate(-4, 1)
        if self._rng.random() < self._failures:
            raise ModelError("bad luck")


@dataclass
class Schedule:
    """One random life of an engine."""

    seed: int
    want: dict[str, list[int]] = field(default_factory=dict)
    prompts: dict[str, list[int]] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    meddled: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        rng = self.rng
        self.runner = MoodyRunner(rng, rng.choice([0, 0, 0.02]), rng.choice([1, 1, 2, 4]))
        config = EngineConfig(
            num_slots=rng.randint(1, 6),
            prefill_chunk=rng.choice([3, 8, 64]),
            kv_memory_bytes=rng.choice([None, None, 16 * 300, 16 * 800, 16 * 1500]),
            prefix_reuse=rng.random() < 0.8,
            park_seconds=rng.choice([0, 0.1, 1000]),
        )
        self.config = config
        self.engine = LLMEngine(self.runner, config, clock=lambda: self.runner.now)
        self.collected = Collected()

    def add(self) -> None:
        """A new chat with one of few beginnings, or the next turn of an answered one; perhaps continued after a crash."""
        rng, number = self.rng, len(self.want)
        name = f"s{number}"
        answered = [other for other in self.prompts if self.collected.reasons.get(other) is FinishReason.LENGTH]
        if answered and rng.random() < 0.5:
            other = rng.choice(answered)
            prompt = [*self.prompts[other], *self.want[other]][: rng.randint(1, 280)]
        else:
            prompt = [rng.randrange(3) * 50 + offset % 40 + 1 for offset in range(rng.choice([1, 5, 40, 70, 200]))]
        prompt = [*prompt[:270], *(rng.randrange(1, 256) for _ in range(rng.randint(0, 12)))]
        sampling = SamplingParams(
            rng.randint(1, 14),
            rng.choice([0.0, 0.8]),
            seed=rng.randrange(3),
            ignore_eos=True,
            repetition_penalty=rng.choice([1.0, 1.1]),
        )
        want = expected(prompt, sampling)
        known = rng.randrange(len(want)) if rng.random() < 0.2 else 0
        deadline = self.runner.now + rng.random() if rng.random() < 0.1 else None
        self.engine.add(Sequence(name, prompt, sampling, completion_ids=want[:known], deadline=deadline))
        self.want[name], self.prompts[name], self.known[name] = want, prompt, known
        if deadline is not None:
            self.meddled.add(name)

    def step(self) -> None:
        self.collected.take(self.engine.step())
        self.check_rows()

    def check_rows(self) -> None:
        scheduler, cache = self.engine.scheduler, self.engine.kv_cache
        assert not scheduler.row_changes
        assert [sequence.row for sequence in scheduler.running] == list(range(len(scheduler.running)))
        rows = [holder.row for holder in (*scheduler.active, *scheduler.parked.rows)]
        assert len(set(rows)) == len(rows)
        assert all(row is not None and row < cache.num_slots for row in rows)
        assert all(sequence.row is None for sequence in scheduler.waiting)
        assert self.config.kv_memory_bytes is None or cache.num_bytes <= self.config.kv_memory_bytes

    def run(self) -> None:
        for _ in range(self.rng.randint(3, 14)):
            self.add()
            if self.rng.random() < 0.15:
                victim = self.rng.choice(list(self.want))
                self.engine.cancel(victim)
                self.meddled.add(victim)
            for _ in range(self.rng.choice([0, 0, 1, 3, 12])):
                self.step()
            if self.rng.random() < 0.1:
                self.runner.now += self.rng.choice([0.2, 2000])
            if not self.engine.has_work:
                self.engine.tidy()
                self.check_rows()
        steps = 0
        while self.engine.has_work:
            self.step()
            steps += 1
            assert steps < 3000, "the engine does not come to an end"
        self.check()

    def check(self) -> None:
        found = self.collected
        assert set(found.reasons) | set(found.failures) == set(self.want)
        assert self.runner._failures or not found.failures
        for name, want in self.want.items():
            answer = want[: self.known[name]] + found.token_ids[name]
            assert answer == want[: len(answer)], name
            if found.reasons.get(name) is FinishReason.LENGTH:
                assert answer == want, name
            else:
                assert name in found.failures or name in self.meddled
        self.runner._failures = 0
        self.runner.now += 5000
        self.engine.tidy()
        self.check_rows()
        assert self.runner.num_tokens_held == 0
        assert self.engine.seconds_until_idle_work() is None


def run_schedules(seeds: Iterable[int]) -> None:
    """Raises AssertionError with the seed of a schedule that breaks a promise."""
    for seed in seeds:
        try:
            Schedule(seed).run()
        except AssertionError as error:
            raise AssertionError(f"schedule {seed}: {error}") from error


@pytest.mark.parametrize("part", range(PARTS))
def test_every_answer_is_the_model_s_own(part: int) -> None:
    run_schedules(range(part, SCHEDULES, PARTS))
