"""Chunks sized by time, on a clock that only the model's work moves."""

import math
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from ai_assistant.engine.backends.fake import FakeRunner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_runner import Logits, TokenIds
from ai_assistant.engine.prefill_budget import ALONE_SECONDS, ChunkCost, DecodePace, PrefillBudget, fitting_chunk
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import Sequence

Times = dict[str, list[float]]


@dataclass(frozen=True)
class Machine:
    """Seconds of a decode step, its rows, a chunk, its tokens, a pair of tokens that look at each other, and a token before."""

    step: float
    row: float
    chunk: float
    token: float
    pair: float
    past: float = 0.0
    noise: float = 0.0

    def seconds(self, count: int, past: int) -> float:
        """Of a chunk without noise."""
        return self.chunk + count * self.token + count * (past + count / 2) * self.pair + past * self.past


MACHINES = {
    "demo model": Machine(0.012, 0.002, 0.010, 0.0007, 5e-7),
    "packs what is before": Machine(0.012, 0.0025, 0.010, 0.0008, 5e-7, 6e-6),
    "large model": Machine(0.150, 0.008, 0.120, 0.008, 1e-6),
    "attention dominates": Machine(0.010, 0.002, 0.004, 0.0001, 1.2e-6),
    "fast device": Machine(0.004, 0.0001, 0.003, 0.00002, 1e-9),
    "no fixed cost": Machine(0.0, 0.003, 0.0, 0.001, 0.0),
    "noisy": Machine(0.012, 0.002, 0.010, 0.0007, 5e-7, noise=0.25),
    "noisy, attention dominates": Machine(0.010, 0.002, 0.004, 0.0001, 1.2e-6, noise=0.2),
}


class TimedRunner(FakeRunner):
    """A model whose work takes time on a simulated clock."""

    def __init__(self, machine: Machine, seed: int = 0) -> None:
        super().__init__(max_positions=8192)
        self.machine, self.now, self.chunks = machine, 0.0, list[int]()
        self._rng = random.Random(seed)

    def prefill(self, row: int, token_ids: TokenIds, past: int) -> Logits:
        self._pass(self.machine.seconds(len(token_ids), past))
        self.chunks.append(len(token_ids))
        return super().prefill(row, token_ids, past)

    def decode(self, token_ids: list[int], lengths: list[int]) -> Logits:
        self._pass(self.machine.step + len(token_ids) * self.machine.row)
        return super().decode(token_ids, lengths)

    def _pass(self, seconds: float) -> None:
        self.now += seconds * self._rng.lognormvariate(0, self.machine.noise)


def step_until(
    engine: LLMEngine, runner: TimedRunner, is_over: Callable[[dict[str, list[float]]], bool]
) -> dict[str, list[float]]:
    """When the tokens of every sequence came."""
    times: Times = defaultdict(list)
    while not is_over(times):
        assert engine.has_work
        for token in engine.step().tokens:
            times[token.seq_id].append(runner.now)
    return times


def gaps(times: Times) -> list[float]:
    return [gap for name, found in times.items() if name != "long" for gap in np.diff(found).tolist()]


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_a_long_prompt_does_not_stall_running_chats(machine: Machine) -> None:
    runner = TimedRunner(machine)
    engine = LLMEngine(runner, EngineConfig(), clock=lambda: runner.now)
    forever = SamplingParams(8000, 0, ignore_eos=True)
    for number in range(8):
        engine.add(Sequence(f"chat{number}", [number + 1] * 40, forever))
    step_until(engine, runner, lambda times: len(times) == 8)
    quiet = gaps(step_until(engine, runner, lambda times: len(times["chat0"]) > 200))
    started = runner.now
    engine.add(Sequence("long", [9] * 6000, forever))
    with_prompt = gaps(step_until(engine, runner, lambda times: "long" in times))
    assert np.quantile(with_prompt, 0.99) < 4 * np.median(quiet)
    alone = 6000 * machine.token + 6000 * 3000 * machine.pair
    assert runner.now - started < 3 * alone + 500 * (machine.chunk + 3000 * machine.past), "the prompt gets its share"


@pytest.mark.parametrize("machine", [MACHINES["demo model"], MACHINES["large model"]], ids=["demo model", "large model"])
def test_a_prompt_alone_is_read_in_large_pieces(machine: Machine) -> None:
    runner = TimedRunner(machine)
    engine = LLMEngine(runner, EngineConfig(), clock=lambda: runner.now)
    engine.add(Sequence("a", [1] * 2000, SamplingParams(1)))
    step_until(engine, runner, lambda times: "a" in times)
    seconds = [machine.seconds(n, sum(runner.chunks[:i])) for i, n in enumerate(runner.chunks)]
    assert all(
        n == 256 or 0.6 * ALONE_SECONDS < s < 1.3 * ALONE_SECONDS for n, s in list(zip(runner.chunks, seconds, strict=True))[3:-1]
    )


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_the_cost_of_a_chunk_is_learned_from_a_few(machine: Machine) -> None:
    cost, rng = ChunkCost(), random.Random(1)

    for _ in range(80):
        count, past = rng.randint(2, 256), rng.randrange(6000)
        cost.observe(count, past, machine.seconds(count, past) * rng.lognormvariate(0, machine.noise))
    errors = []
    for count, past in ((64, 500), (256, 1000), (256, 3000), (128, 4500), (32, 6000)):
        errors.append(abs(math.log(cost.predict(count, past) / machine.seconds(count, past))))
    assert np.median(errors) < 0.2 + machine.noise / 2
    assert cost.spread == pytest.approx(0.8 * machine.noise, abs=0.12)
    for limit in (0.01, 0.1, 1.0):
        count = cost.tokens_within(limit, 2000)
        assert cost.predict(count, 2000) <= limit * 1.001 or count == 0
        assert cost.predict(count + 1, 2000) > limit * 0.999


@pytest.mark.parametrize("seed", range(5))
def test_chunks_of_one_size_do_not_make_a_past_look_expensive(seed: int) -> None:
    """They would make the next ones larger, and so on."""
    cost, rng = ChunkCost(), random.Random(seed)
    for past in range(0, 6000, 16):
        cost.observe(16, past, (0.01 + 16 * 0.0006 + 3.6e-7 * (16 * (past + 8) + 18 * past)) * rng.lognormvariate(0, 0.15))
    # Of 57 ms behind 6,000 tokens; the rest is what the tokens themselves cost.
    assert cost.predict(0, 6000) < 0.075


def test_an_outlier_is_forgiven() -> None:
    cost = ChunkCost()
    for _ in range(20):
        cost.observe(100, 0, 0.1)
    cost.observe(100, 0, 30.0)
    assert cost.predict(100, 0) < 0.2
    pace = DecodePace()
    for _ in range(20):
        pace.observe(4, 0.03)
    pace.observe(4, 30.0)
    assert pace.seconds(4) == pytest.approx(0.03, rel=0.1)


def test_the_pace_of_an_unknown_batch_is_never_guessed_too_long() -> None:
    pace = DecodePace()
    assert pace.seconds(3) is None
    pace.observe(8, 0.04)
    assert pace.seconds(2) == pytest.approx(0.01)
    pace.observe(2, 0.02)
    assert (pace.seconds(4), pace.seconds(16)) == (0.02, 0.04)


def test_without_any_measurement_the_first_chunk_beside_others_is_small() -> None:
    budget = PrefillBudget(256)
    budget.pace.observe(1, 10.0)
    assert budget.chunk(budget.seconds(1), 0, 6000, is_first=True) <= 16


@pytest.mark.parametrize("largest", [3, 4, 7, 64, 256])
def test_no_chunk_is_a_single_token_or_leaves_one(largest: int) -> None:
    for rest in range(1, 300):
        for wanted in (1, 2, 3, 5, 17, 63, 64, 255, 256, 999):
            chunk = fitting_chunk(wanted, rest, largest)
            assert 1 <= chunk <= min(rest, largest)
            assert rest == 1 or (chunk >= 2 and rest - chunk != 1), (wanted, rest)
