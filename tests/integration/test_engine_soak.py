"""Hours of joins and leaves in a minute: a tiny random model on the real runner, and thousands of schedules on the fake one."""

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from ai_assistant.engine.backends import load_runner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_package import load_package
from ai_assistant.engine.model_runner import ModelRunner
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import FinishReason, Sequence
from ai_assistant.provision.build import build_package
from unit.engine.test_schedules import run_schedules
from unit.provision.tiny_llama import POSITIONS, VOCABULARY, TinyLlama

SECONDS = float(os.environ.get("SOAK_SECONDS", "40"))
GROWTH_MIB = 6


@pytest.fixture(scope="module", params=["fp32", "int8"])
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelRunner:
    folder = tmp_path_factory.mktemp("soak")
    source = TinyLlama().write_gguf(folder / "tiny.gguf").as_uri()
    package = build_package(source, precision=request.param, store=folder / "store", allow_inaccurate=True)
    return load_runner(load_package(package), EngineConfig(), threads=1)


def resident_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


class Soak:
    """Random life around one engine; a request's answer is known from a run of its own."""

    def __init__(self, runner: ModelRunner) -> None:
        self.rng = random.Random(7)
        self.skipped = 0.0
        config = EngineConfig(num_slots=8, prefill_chunk=64, kv_memory_bytes=1400 * runner.kv_bytes_per_token, park_seconds=5)
        self.engine = LLMEngine(runner, config, clock=self.clock)
        self.reference = LLMEngine(runner, EngineConfig(prefix_reuse=False, num_slots=1))
        self.requests = [self.request(number) for number in range(60)]
        self.answers = [self.alone(*request) for request in self.requests]
        self.found: dict[str, list[int]] = {}
        self.number_of: dict[str, int] = {}
        self.num_finished = self.num_ended_early = 0

    def clock(self) -> float:
        return time.monotonic() + self.skipped

    def request(self, number: int) -> tuple[list[int], SamplingParams]:
        rng, shared = self.rng, [(offset * 13) % VOCABULARY for offset in range(90)]
        length = rng.choice([1, 3, 20, 60, 150, POSITIONS - 60 if number % 10 == 0 else 30])
        prompt = [*(shared if number % 3 else []), *(rng.randrange(VOCABULARY) for _ in range(length))]
        params: dict[str, Any] = rng.choice(
            [
                {"temperature": 0},
                {"temperature": 0.9, "top_p": 0.9, "seed": number},
                {"temperature": 0.7, "presence_penalty": 1.0},
            ]
        )
        return prompt[: POSITIONS - 30], SamplingParams(rng.randint(1, 25), ignore_eos=True, **params)

    def alone(self, prompt: list[int], params: SamplingParams) -> list[int]:
        sequence = Sequence("alone", prompt, params)
        self.reference.add(sequence)
        while self.reference.has_work:
            assert not self.reference.step().failures
        return sequence.completion_ids

    def join(self) -> None:
        rng, name = self.rng, f"s{len(self.number_of)}"
        number = rng.randrange(len(self.requests))
        prompt, params = self.requests[number]
        known = self.answers[number][: rng.randrange(len(self.answers[number]))] if rng.random() < 0.1 else []
        deadline = self.clock() + rng.random() * 0.5 if rng.random() < 0.1 else None
        self.engine.add(Sequence(name, prompt, params, completion_ids=known, deadline=deadline))
        self.number_of[name], self.found[name] = number, list(known)
        if rng.random() < 0.15:
            self.engine.cancel(rng.choice([name, f"s{max(0, len(self.number_of) - rng.randrange(1, 9))}"]))

    def step(self) -> None:
        output = self.engine.step()
        assert not output.failures
        for token in output.tokens:
            if token.token_id is not None:
                self.found[token.seq_id].append(token.token_id)
            if token.finish_reason is None:
                continue
            answer, found = self.answers[self.number_of[token.seq_id]], self.found.pop(token.seq_id)
            assert found == answer[: len(found)], token.seq_id
            if token.finish_reason is FinishReason.LENGTH:
                assert found == answer, token.seq_id
                self.num_finished += 1
            else:
                self.num_ended_early += 1

    def live(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(self.rng.choice([0, 1, 1, 3])):
                if self.engine.num_waiting < 12:
                    self.join()
            for _ in range(self.rng.choice([1, 2, 5])):
                self.step()
            if self.rng.random() < 0.01:
                self.skipped += 10


def test_memory_is_flat_and_no_slot_is_lost(runner: ModelRunner) -> None:
    soak = Soak(runner)
    soak.live(SECONDS / 4)
    before = resident_mib()
    soak.live(SECONDS / 4)
    grown = resident_mib() - before
    while soak.engine.has_work:
        soak.step()
    soak.skipped += 1000
    stats = soak.engine.tidy().stats
    assert soak.num_finished > 500
    assert soak.num_ended_early > 50
    assert stats.num_preempted > 0
    assert stats.num_evicted > 0
    assert stats.reused_tokens > 10_000
    assert grown < GROWTH_MIB
    assert not soak.found
    assert (stats.num_running, stats.num_waiting, stats.num_parked) == (0, 0, 0)
    assert soak.engine.num_free_slots == soak.engine.kv_cache.rows_for(1)
    assert soak.engine.seconds_until_idle_work() is None


@pytest.mark.parametrize("part", range(4))
def test_thousands_of_schedules(part: int) -> None:
    run_schedules(range(1000 + part, 3000, 4))
