"""Rows that outlive their sequence: who may start from them, what it saves, and when they go."""

import numpy as np
import pytest

from ai_assistant.engine.backends.fake import FakeRunner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_runner import Logits, TokenIds
from ai_assistant.engine.parked_rows import common_prefix
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import FinishReason, Sequence
from ai_assistant.errors import ConfigurationError, ModelError
from unit.engine.engine_runs import GREEDY, expected, run

SYSTEM = [(number * 37) % 255 + 1 for number in range(100)]


class Reading(FakeRunner):
    """Remembers what was read as a prompt, and from where."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, int]] = []
        self.copies: list[tuple[int, int, int]] = []

    def prefill(self, row: int, token_ids: TokenIds, past: int) -> Logits:
        self.reads.append((past, len(token_ids)))
        return super().prefill(row, token_ids, past)

    def move(self, source: int, target: int, length: int) -> None:
        self.copies.append((source, target, length))
        super().move(source, target, length)


@pytest.fixture
def runner() -> Reading:
    return Reading()


def prompt_of(number: int, length: int = 60) -> list[int]:
    return [(number * 11 + offset * 3) % 255 + 1 for offset in range(length)]


def test_the_next_turn_reads_only_what_is_new(runner: Reading) -> None:
    engine = LLMEngine(runner, EngineConfig())
    first = run(engine, [Sequence("a", prompt_of(1), GREEDY)]).token_ids["a"]
    runner.reads.clear()
    turn = [*prompt_of(1), *first, 7, 8, 9, 10]
    collected = run(engine, [Sequence("b", turn, GREEDY)])
    # The last token of an answer was never read.
    assert runner.reads == [(60 + len(first) - 1, 5)]
    assert runner.copies == []
    assert collected.token_ids["b"] == expected(turn, GREEDY)
    assert collected.steps[-1].stats.reused_tokens == 60 + len(first) - 1
    assert collected.steps[-1].stats.num_parked == 1


def test_the_same_prompt_again_reads_two_tokens(runner: Reading) -> None:
    engine = LLMEngine(runner, EngineConfig())
    run(engine, [Sequence("a", prompt_of(1), SamplingParams(1, 0))])
    runner.reads.clear()
    assert run(engine, [Sequence("b", prompt_of(1), GREEDY)]).token_ids["b"] == expected(prompt_of(1), GREEDY)
    assert runner.reads == [(58, 2)], "a lone token would be read by other kernels"


def test_a_shared_beginning_is_copied_even_from_a_running_row(runner: Reading) -> None:
    engine = LLMEngine(runner, EngineConfig(num_slots=4))
    engine.add(Sequence("runs", [*SYSTEM, 1, 2, 3], SamplingParams(500, 0, ignore_eos=True)))
    engine.step()
    runner.reads.clear()
    engine.add(Sequence("b", [*SYSTEM, 9, 9, 9, 9], GREEDY))
    tokens: list[int] = []
    while len(tokens) < GREEDY.max_tokens:
        tokens += [token.token_id for token in engine.step().tokens if token.seq_id == "b" and token.token_id is not None]
    assert tokens == expected([*SYSTEM, 9, 9, 9, 9], GREEDY)
    assert runner.copies == [(0, 1, 100)]
    assert runner.reads == [(100, 4)]


def test_prompts_that_come_together_read_their_common_beginning_once(runner: Reading) -> None:
    engine = LLMEngine(runner, EngineConfig())
    prompts = {f"s{number}": [*SYSTEM, *prompt_of(number, 20)] for number in range(6)}
    collected = run(engine, [Sequence(name, prompt, GREEDY) for name, prompt in prompts.items()])
    assert {name: expected(prompt, GREEDY) for name, prompt in prompts.items()} == collected.token_ids
    assert collected.steps[-1].stats.reused_tokens == 5 * len(SYSTEM)


def test_a_parked_conversation_survives_a_new_one_with_the_same_instructions(runner: Reading) -> None:
    engine = LLMEngine(runner, EngineConfig(num_slots=4))
    first = run(engine, [Sequence("a", [*SYSTEM, *prompt_of(1)], GREEDY)]).token_ids["a"]
    assert run(engine, [Sequence("b", [*SYSTEM, *prompt_of(2)], GREEDY)]).token_ids["b"] == expected(
        [*SYSTEM, *prompt_of(2)], GREEDY
    )
    runner.reads.clear()
    turn = [*SYSTEM, *prompt_of(1), *first, 5, 6]
    assert run(engine, [Sequence("c", turn, GREEDY)]).token_ids["c"] == expected(turn, GREEDY)
    assert runner.reads[0][0] == len(turn) - 3


def test_without_a_free_slot_the_least_recently_used_goes(runner: Reading) -> None:
    now = 0.0
    engine = LLMEngine(runner, EngineConfig(num_slots=3), clock=lambda: now)
    for number in range(3):
        now += 1
        run(engine, [Sequence(f"s{number}", prompt_of(number), GREEDY)])
    now += 1
    run(engine, [Sequence("again", prompt_of(0), SamplingParams(1, 0))])  # s0 is the last used now
    collected = run(engine, [Sequence("new", prompt_of(9), GREEDY)])
    assert collected.steps[-1].stats.num_evicted == 1
    runner.reads.clear()
    run(engine, [Sequence("s0 again", prompt_of(0), SamplingParams(1, 0))])
    run(engine, [Sequence("s2 again", prompt_of(2), SamplingParams(1, 0))])
    assert [past for past, _ in runner.reads] == [58, 58]
    run(engine, [Sequence("s1 again", prompt_of(1), SamplingParams(1, 0))])
    assert runner.reads[2] == (0, 60)


def test_with_one_slot_a_shared_beginning_is_taken_over(runner: Reading) -> None:
    engine = LLMEngine(runner, EngineConfig(num_slots=1))
    run(engine, [Sequence("a", [*SYSTEM, *prompt_of(1)], GREEDY)])
    runner.reads.clear()
    prompt = [*SYSTEM, *prompt_of(2)]
    assert run(engine, [Sequence("b", prompt, GREEDY)]).token_ids["b"] == expected(prompt, GREEDY)
    assert (runner.reads[0][0], runner.copies) == (100, [])


def test_what_was_cancelled_or_ran_out_of_time_is_parked_too(runner: Reading) -> None:
    now = 0.0
    engine = LLMEngine(runner, EngineConfig(), clock=lambda: now)
    engine.add(Sequence("a", prompt_of(1), SamplingParams(500, 0, ignore_eos=True)))
    engine.add(Sequence("b", prompt_of(2), SamplingParams(500, 0, ignore_eos=True), deadline=10))
    for _ in range(20):
        engine.step()
    engine.cancel("a")
    now = 10.0
    collected = run(engine)
    assert collected.reasons == {"a": FinishReason.CANCELLED, "b": FinishReason.DEADLINE}
    assert collected.steps[-1].stats.num_parked == 2
    assert collected.steps[-1].stats.parked_tokens > 120


def test_rows_go_when_nobody_comes_back(runner: Reading) -> None:
    now = 0.0
    engine = LLMEngine(runner, EngineConfig(park_seconds=60), clock=lambda: now)
    assert engine.seconds_until_idle_work() is None
    run(engine, [Sequence("a", prompt_of(1, 1000), GREEDY)])
    assert engine.kv_cache.capacity == 1024
    now = 20.0
    assert engine.seconds_until_idle_work() == 40
    assert engine.tidy().stats.num_parked == 1
    now = 60.0
    assert engine.seconds_until_idle_work() == 0
    stats = engine.tidy().stats
    assert stats.num_parked == stats.num_evicted == runner.num_tokens_held == 0
    assert engine.kv_cache.capacity == 256, "idle rows are small"
    assert engine.seconds_until_idle_work() is None


@pytest.mark.parametrize("length", [100, 300, 600, 1100, 3000])
def test_an_idle_engine_rests(runner: Reading, length: int) -> None:
    """Whatever size the rows have grown to, there is an end to what `tidy` has to do."""
    now = 0.0
    engine = LLMEngine(runner, EngineConfig(park_seconds=60), clock=lambda: now)
    run(engine, [Sequence("a", prompt_of(1, length), GREEDY)])
    now = 100.0
    engine.tidy()
    assert engine.seconds_until_idle_work() is None


class Unshrinkable(FakeRunner):
    """Has no memory for the moment in which rows are made smaller."""

    def resize(self, num_rows: int, capacity: int, lengths: list[int]) -> None:
        if capacity < self._rows.shape[1]:
            raise ModelError("no memory")
        super().resize(num_rows, capacity, lengths)


def test_rows_that_cannot_be_made_smaller_stay_and_nobody_is_lost() -> None:
    engine = LLMEngine(Unshrinkable(), EngineConfig(prefix_reuse=False))
    run(engine, [Sequence("long", prompt_of(1, 2000), GREEDY)])
    assert engine.tidy().failures == []
    assert engine.seconds_until_idle_work() is None
    assert run(engine, [Sequence("a", prompt_of(2), GREEDY)]).token_ids["a"] == expected(prompt_of(2), GREEDY)


def test_reuse_can_be_switched_off(runner: Reading) -> None:
    engine = LLMEngine(runner, EngineConfig(prefix_reuse=False))
    for name in "ab":
        assert run(engine, [Sequence(name, SYSTEM, GREEDY)]).token_ids[name] == expected(SYSTEM, GREEDY)
    assert runner.reads == [(0, 100), (0, 100)]
    assert runner.num_tokens_held == 0
    assert engine.seconds_until_idle_work() is None
    with pytest.raises(ConfigurationError, match="park_seconds"):
        EngineConfig(park_seconds=-1)


def test_a_continued_answer_uses_only_what_was_read_as_a_prompt(runner: Reading) -> None:
    """Its first run has read the whole prompt, so what an answer left behind would not have the same numbers."""
    engine = LLMEngine(runner, EngineConfig())
    first = run(engine, [Sequence("a", prompt_of(1), GREEDY)]).token_ids["a"]
    turn = [*prompt_of(1), *first, *prompt_of(3)]
    whole = expected(turn, GREEDY)
    runner.reads.clear()
    known = Sequence("b", turn, GREEDY, completion_ids=whole[:4])
    assert run(engine, [known]).token_ids["b"] == whole[4:]
    assert runner.reads[0][0] == 60
    assert known.num_exact == len(turn)
    fresh = Sequence("c", [*turn, 1, 2], GREEDY)
    run(engine, [fresh])
    assert fresh.num_exact == len(turn) + 2


def test_what_follows_a_reused_answer_is_known_not_to_be_exact(runner: Reading) -> None:
    engine = LLMEngine(runner, EngineConfig())
    first = run(engine, [Sequence("a", prompt_of(1), GREEDY)]).token_ids["a"]
    turn = [*prompt_of(1), *first, *prompt_of(3)]
    second = Sequence("b", turn, GREEDY)
    answer = run(engine, [second]).token_ids["b"]
    assert second.num_exact == 60
    runner.reads.clear()
    third = [*turn, *answer, *prompt_of(4)]
    run(engine, [Sequence("c", third, GREEDY, completion_ids=[1])])
    assert runner.reads[0][0] == 60


class Crowded(FakeRunner):
    """Has room for 256 tokens a row as long as another row is parked."""

    refusals = 1

    def resize(self, num_rows: int, capacity: int, lengths: list[int]) -> None:
        if capacity > 256 and self.refusals:
            self.refusals -= 1
            raise ModelError("no memory")
        super().resize(num_rows, capacity, lengths)


def test_parked_rows_go_before_a_sequence_fails_for_want_of_memory() -> None:
    engine = LLMEngine(Crowded(), EngineConfig())
    run(engine, [Sequence("a", prompt_of(1), GREEDY)])
    collected = run(engine, [Sequence("b", prompt_of(2, 400), GREEDY)])
    assert not collected.failures
    assert collected.token_ids["b"] == expected(prompt_of(2, 400), GREEDY)
    assert collected.steps[-1].stats.num_evicted == 1


def test_common_prefix() -> None:
    for one, other, length in (
        ("", "", 0),
        ("a", "", 0),
        ("abc", "abd", 2),
        ("abc", "abcde", 3),
        ("abc", "abc", 3),
        ("x", "y", 0),
    ):
        arrays = (np.frombuffer(text.encode(), np.uint8).astype(np.int64) for text in (one, other))
        assert common_prefix(*arrays) == length
