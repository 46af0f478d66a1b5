"""Prompts that are read at the same time: short ones overtake, long ones are not starved."""

from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.kv_cache import KVCache
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import Sequence
from unit.engine.engine_runs import GREEDY, expected, run
from unit.engine.test_prefill_budget import MACHINES, TimedRunner, step_until

FOREVER = SamplingParams(8000, 0, ignore_eos=True)
ONE = SamplingParams(1, 0)


def engine_with(runner: TimedRunner, **config: int) -> LLMEngine:
    return LLMEngine(runner, EngineConfig(**config), clock=lambda: runner.now)


def test_a_short_prompt_overtakes_a_long_one() -> None:
    runner = TimedRunner(MACHINES["demo model"])
    engine = engine_with(runner)
    engine.add(Sequence("chat", [1] * 40, FOREVER))
    step_until(engine, runner, lambda times: "chat" in times)
    engine.add(Sequence("long", list(range(1, 201)) * 30, ONE))
    for _ in range(20):
        engine.step()
    started = runner.now
    engine.add(Sequence("short", [3] * 100, ONE))
    times = step_until(engine, runner, lambda times: "short" in times)
    assert "long" not in times
    assert times["short"][0] - started < 1.0
    times = step_until(engine, runner, lambda times: "long" in times)
    assert times["long"][0] - started > 5.0


def test_short_prompts_that_never_end_do_not_starve_a_long_one() -> None:
    runner = TimedRunner(MACHINES["demo model"])
    engine = engine_with(runner, num_slots=4)
    engine.add(Sequence("chat", [1] * 40, FOREVER))
    step_until(engine, runner, lambda times: "chat" in times)
    engine.add(Sequence("long", list(range(1, 201)) * 15, ONE))
    long, number, done, started = engine._sequences["long"], 0, 0, runner.now
    chunks_before = len(runner.chunks)
    while long.num_unread:
        while engine.num_free_slots > 0:
            engine.add(Sequence(f"short{number}", [number % 250 + 1] * 60, ONE))
            number += 1
        done += sum(token.seq_id.startswith("short") for token in engine.step().tokens)
        assert runner.now - started < 60, "the long prompt is starved"
    assert done > 50, "the short ones were to compete"
    assert len(runner.chunks) - chunks_before < 3 * (done + 3000 / 8)


def test_several_prompts_are_read_beside_each_other_and_all_answers_are_right() -> None:
    runner = TimedRunner(MACHINES["attention dominates"])
    engine = engine_with(runner, num_slots=8)
    prompts = {f"s{number}": [number * 7 + offset % 11 + 1 for offset in range(30 + 150 * (number % 3))] for number in range(20)}
    collected = run(engine, [Sequence(name, prompt, GREEDY) for name, prompt in prompts.items()])
    for name, prompt in prompts.items():
        assert collected.token_ids[name] == expected(prompt, GREEDY), name


def test_small_prompts_share_one_step() -> None:
    runner = TimedRunner(MACHINES["demo model"])
    engine = engine_with(runner)
    engine.add(Sequence("chat", [1] * 100, FOREVER))
    step_until(engine, runner, lambda times: len(times["chat"]) > 5)
    for number in range(6):
        engine.add(Sequence(f"s{number}", [number + 2] * 20, FOREVER))
    first = engine.step()
    assert len(first.tokens) >= 2, "one decoded token and at least one first token"


def test_cancelling_while_a_prompt_is_read_frees_its_row() -> None:
    runner = TimedRunner(MACHINES["demo model"])
    engine = engine_with(runner, num_slots=2)
    engine.add(Sequence("chat", [1] * 40, FOREVER))
    step_until(engine, runner, lambda times: "chat" in times)
    engine.add(Sequence("a", [5] * 3000, ONE))
    engine.add(Sequence("b", [6] * 30, ONE))
    engine.step()
    assert (engine.num_running, engine.num_waiting) == (2, 1)
    engine.cancel("a")
    times = step_until(engine, runner, lambda times: "b" in times)
    assert set(times) >= {"a", "b", "chat"}
    assert engine.num_running == 1


def test_a_deadline_ends_a_prompt_that_is_being_read() -> None:
    runner = TimedRunner(MACHINES["demo model"])
    engine = engine_with(runner)
    engine.add(Sequence("chat", [1] * 40, FOREVER))
    step_until(engine, runner, lambda times: "chat" in times)
    engine.add(Sequence("a", [5] * 6000, ONE, deadline=runner.now + 1))
    started = runner.now
    step_until(engine, runner, lambda times: "a" in times)
    assert 1 <= runner.now - started < 1.2


def test_accounts_of_rows_never_exceed_memory_with_parked_rows() -> None:
    runner = TimedRunner(MACHINES["demo model"])
    engine = engine_with(runner, num_slots=8, kv_memory_bytes=2100 * runner.kv_bytes_per_token)
    assert isinstance(engine.kv_cache, KVCache)
    for number in range(30):
        engine.add(Sequence(f"s{number}", [number + 1] * (50 + 400 * (number % 4 == 0)), SamplingParams(30, 0, ignore_eos=True)))
    collected = run(engine)
    assert len(collected.reasons) == 30
    assert max(step.stats.kv_bytes for step in collected.steps) <= 2100 * runner.kv_bytes_per_token
    assert collected.steps[-1].stats.num_evicted > 0
    for number in range(30):
        prompt = [number + 1] * (50 + 400 * (number % 4 == 0))
        assert collected.token_ids[f"s{number}"] == expected(prompt, SamplingParams(30, 0, ignore_eos=True))
