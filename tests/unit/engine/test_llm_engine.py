"""The engine's promises, with a runner whose next token depends on everything that a row really holds."""

import random
import time
from collections.abc import Callable

import numpy as np
import pytest

from ai_assistant.engine.backends.fake import FakeRunner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_runner import Logits
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import FinishReason, Sequence
from ai_assistant.errors import ConfigurationError, ModelError, PromptTooLongError
from unit.engine.engine_runs import CREATIVE, GREEDY, Collected, expected, run, some_prompt


@pytest.mark.parametrize("sampling", [GREEDY, CREATIVE], ids=["greedy", "creative"])
@pytest.mark.parametrize("chunk", [3, 4, 5, 64])
def test_an_answer_is_the_model_s_and_does_not_depend_on_chunks(sampling: SamplingParams, chunk: int) -> None:
    prompt = list(range(1, 42))
    answer = run(LLMEngine(FakeRunner(), EngineConfig(prefill_chunk=chunk)), [Sequence("a", prompt, sampling)])
    assert answer.token_ids["a"] == expected(prompt, sampling)


def test_same_seed_same_tokens_and_another_seed_another_answer() -> None:
    answers = [
        tuple(run(LLMEngine(FakeRunner(), EngineConfig()), [Sequence("a", [1, 2, 3], params)]).token_ids["a"])
        for params in (SamplingParams(20, seed=1), SamplingParams(20, seed=1), SamplingParams(20, seed=2))
    ]
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize("max_tokens", [1, 2, 7])
def test_max_tokens_is_kept(max_tokens: int) -> None:
    sampling = SamplingParams(max_tokens, temperature=0, ignore_eos=True)
    answer = run(LLMEngine(FakeRunner(), EngineConfig()), [Sequence("a", [5], sampling)])
    assert len(answer.token_ids["a"]) == max_tokens
    assert answer.reasons == {"a": FinishReason.LENGTH}


def test_the_end_token_is_reported_and_ends_the_sequence() -> None:
    plain = expected([5, 6], GREEDY)
    assert plain[3] not in plain[:3]
    answer = run(LLMEngine(FakeRunner(eos_token_ids=(plain[3],)), EngineConfig()), [Sequence("a", [5, 6], SamplingParams(12, 0))])
    assert answer.token_ids["a"] == plain[:4]
    assert answer.reasons == {"a": FinishReason.STOP}


def test_a_request_s_own_stop_token_works_even_when_the_model_s_is_ignored() -> None:
    plain = expected([5, 6], GREEDY)
    sampling = SamplingParams(12, 0, ignore_eos=True, stop_token_ids=(plain[2],))
    answer = run(LLMEngine(FakeRunner(eos_token_ids=(plain[1],)), EngineConfig()), [Sequence("a", [5, 6], sampling)])
    assert answer.token_ids["a"] == plain[: plain.index(plain[2]) + 1]
    assert answer.reasons == {"a": FinishReason.STOP}


@pytest.mark.parametrize("pad", [1, 2, 4])
def test_joins_and_leaves_never_mix_rows_and_leak_nothing(pad: int) -> None:
    rng = random.Random(pad)
    runner, skipped = FakeRunner(pad_rows_to_multiple=pad), 0.0
    engine = LLMEngine(runner, EngineConfig(num_slots=8, prefill_chunk=16), clock=lambda: time.monotonic() + skipped)
    want, cancelled, collected = {}, set(), Collected()
    for number in range(500):
        name = f"s{number}"
        sampling = SamplingParams(rng.randint(1, 40), rng.choice([0.0, 0.8]), seed=number, top_k=rng.choice([0, 5]))
        prompt = some_prompt(rng)
        want[name] = expected(prompt, sampling)
        engine.add(Sequence(name, prompt, sampling))
        if rng.random() < 0.1:
            victim = f"s{rng.randrange(number + 1)}"
            engine.cancel(victim)
            cancelled.add(victim)
        for _ in range(rng.choice([0, 1, 4])):
            collected.take(engine.step())
    while engine.has_work:
        collected.take(engine.step())
    assert set(collected.reasons) == set(want)
    for name, token_ids in want.items():
        if collected.reasons[name] is FinishReason.CANCELLED:
            assert name in cancelled
            assert collected.token_ids[name] == token_ids[: len(collected.token_ids[name])]
        else:
            assert collected.token_ids[name] == token_ids, name
    assert max(step.stats.num_decode_rows for step in collected.steps) == 8, "the test never filled the batch"
    assert len([name for name in cancelled if collected.reasons[name] is FinishReason.CANCELLED]) > 10
    assert engine.num_running == engine.num_waiting == 0
    assert engine.num_free_slots == 8
    skipped = 1000.0
    assert engine.seconds_until_idle_work() == 0
    assert engine.tidy().stats.num_parked == runner.num_tokens_held == 0
    assert engine.seconds_until_idle_work() is None


@pytest.mark.parametrize("memory_tokens", [256, 600, 2048])
def test_little_memory_makes_sequences_wait_but_changes_nothing(memory_tokens: int) -> None:
    rng = random.Random(3)
    runner = FakeRunner(pad_rows_to_multiple=1)
    config = EngineConfig(num_slots=8, prefill_chunk=64, kv_memory_bytes=memory_tokens * runner.kv_bytes_per_token)
    engine = LLMEngine(runner, config)
    sampling = SamplingParams(120, 0.8, ignore_eos=True, seed=5)
    prompts = {f"s{number}": some_prompt(rng, 130) for number in range(10)}
    collected = run(engine, [Sequence(name, prompt, sampling) for name, prompt in prompts.items()])
    for name, prompt in prompts.items():
        assert collected.token_ids[name] == expected(prompt, sampling), name
    assert max(step.stats.kv_bytes for step in collected.steps) <= config.kv_memory_bytes
    assert set(collected.reasons.values()) == {FinishReason.LENGTH}


def test_growing_answers_put_the_youngest_back_and_the_oldest_finishes_first() -> None:
    runner = FakeRunner()
    sampling = SamplingParams(200, 0.8, ignore_eos=True)
    engine = LLMEngine(runner, EngineConfig(kv_memory_bytes=600 * runner.kv_bytes_per_token))
    collected = run(engine, [Sequence(name, list(range(1, 101)), sampling) for name in "ab"])
    assert collected.steps[-1].stats.num_preempted == 1
    assert list(collected.reasons) == ["a", "b"]
    assert collected.token_ids["a"] == collected.token_ids["b"] == expected(list(range(1, 101)), sampling)


def test_rows_grow_and_shrink_with_the_longest() -> None:
    runner = FakeRunner()
    engine = LLMEngine(runner, EngineConfig(num_slots=2, prefix_reuse=False))
    short = SamplingParams(40, 0, ignore_eos=True)
    collected = run(engine, [Sequence("long", [1] * 1500, SamplingParams(2, 0)), Sequence("short", [2] * 9, short)])
    sizes = [step.stats.kv_bytes // (2 * runner.kv_bytes_per_token) for step in collected.steps]
    assert sizes[0] == 2048
    assert sizes[-1] == 256
    assert collected.token_ids["short"] == expected([2] * 9, short)


@pytest.mark.parametrize("sampling", [GREEDY, CREATIVE], ids=["greedy", "creative"])
def test_a_continued_answer_is_the_undisturbed_one(sampling: SamplingParams) -> None:
    prompt = list(range(10, 45))
    whole = expected(prompt, sampling)
    assert len(whole) > 5
    for known in range(len(whole)):
        engine = LLMEngine(FakeRunner(), EngineConfig(prefill_chunk=16))
        others = [Sequence(f"other{n}", [n + 1] * 5, GREEDY) for n in range(3)]
        collected = run(engine, [Sequence("a", prompt, sampling, completion_ids=whole[:known]), *others])
        assert collected.token_ids["a"] == whole[known:], known
        assert collected.token_ids["other1"] == expected([2] * 5, GREEDY)


class Recording(FakeRunner):
    """Remembers how many tokens were read at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: list[int] = []

    def prefill(self, row: int, token_ids: list[int], past: int) -> Logits:
        self.chunks.append(len(token_ids))
        return super().prefill(row, token_ids, past)


def test_the_known_answer_is_read_token_by_token() -> None:
    runner = Recording()
    run(LLMEngine(runner, EngineConfig(prefill_chunk=8)), [Sequence("a", [1] * 17, GREEDY, completion_ids=[3] * 6)])
    assert runner.chunks == [8, 7, 2], "neither the answer nor a lone last token may be read by the chunk kernels"


@pytest.mark.parametrize(
    ("known", "sampling", "reason"),
    [
        ([9, 0], SamplingParams(12), FinishReason.STOP),
        ([9, 9, 9], SamplingParams(3), FinishReason.LENGTH),
        ([9] * 10, SamplingParams(99), FinishReason.LENGTH),
    ],
    ids=["end token", "max_tokens", "context"],
)
def test_a_known_answer_that_is_complete_ends_at_once(known: list[int], sampling: SamplingParams, reason: FinishReason) -> None:
    engine = LLMEngine(FakeRunner(), EngineConfig(max_context=20))
    engine.add(Sequence("a", [1] * 10, sampling, completion_ids=known))
    assert engine.has_work
    (output,) = engine.step().tokens
    assert (output.token_id, output.finish_reason) == (None, reason)
    assert not engine.has_work


def test_a_cancelled_sequence_gives_its_slot_to_the_next_within_one_step() -> None:
    engine = LLMEngine(FakeRunner(), EngineConfig(num_slots=1))
    engine.add(Sequence("a", [1, 2], SamplingParams(500, ignore_eos=True)))
    engine.add(Sequence("b", [3], GREEDY))
    engine.step()
    engine.cancel("a")
    engine.cancel("unknown")
    gone, first = engine.step().tokens
    assert (gone.seq_id, gone.token_id, gone.finish_reason) == ("a", None, FinishReason.CANCELLED)
    assert first.seq_id == "b"
    assert (engine.num_running, engine.num_waiting) == (1, 0)


def test_a_waiting_sequence_can_be_cancelled() -> None:
    engine = LLMEngine(FakeRunner(), EngineConfig(num_slots=1))
    for name in "ab":
        engine.add(Sequence(name, [1], GREEDY))
    engine.cancel("b")
    collected = run(engine)
    assert collected.reasons == {"a": FinishReason.LENGTH, "b": FinishReason.CANCELLED}
    assert collected.token_ids["b"] == []


def test_deadlines_end_running_and_waiting_sequences() -> None:
    now = 100.0
    engine = LLMEngine(FakeRunner(), EngineConfig(num_slots=1), clock=lambda: now)
    sampling = SamplingParams(500, ignore_eos=True)
    engine.add(Sequence("running", [1], sampling, deadline=110))
    engine.add(Sequence("waiting", [1], sampling, deadline=105))
    engine.add(Sequence("patient", [1], GREEDY))
    assert engine.step().tokens[0].seq_id == "running"
    now = 105.0
    gone = engine.step().tokens[0]
    assert (gone.seq_id, gone.token_id, gone.finish_reason) == ("waiting", None, FinishReason.DEADLINE)
    now = 110.0
    first = engine.step().tokens[0]
    assert (first.seq_id, first.finish_reason) == ("running", FinishReason.DEADLINE)
    assert run(engine).reasons == {"patient": FinishReason.LENGTH}


def test_first_come_first_served() -> None:
    engine = LLMEngine(FakeRunner(), EngineConfig(num_slots=2))
    names = [f"s{number}" for number in range(12)]
    collected = run(engine, [Sequence(name, [1] * (20 + n), GREEDY) for n, name in enumerate(names)])
    assert list(collected.token_ids) == names


def test_the_full_context_ends_an_answer() -> None:
    answer = run(
        LLMEngine(FakeRunner(), EngineConfig(max_context=20)), [Sequence("a", [1] * 15, SamplingParams(99, ignore_eos=True))]
    )
    assert len(answer.token_ids["a"]) == 5
    assert answer.reasons == {"a": FinishReason.LENGTH}


def test_what_cannot_run_is_refused_when_it_is_added() -> None:
    engine = LLMEngine(FakeRunner(), EngineConfig(max_context=20))
    with pytest.raises(PromptTooLongError, match="20 tokens"):
        engine.add(Sequence("a", [1] * 20, GREEDY))
    for bad in ([256], [-1], [10**30]):
        with pytest.raises(ValueError, match="vocabulary"):
            engine.add(Sequence("a", bad, GREEDY))
    with pytest.raises(ValueError, match="empty"):
        engine.add(Sequence("a", [], GREEDY))
    engine.add(Sequence("a", [1] * 19, GREEDY))
    with pytest.raises(ValueError, match="already"):
        engine.add(Sequence("a", [1], GREEDY))


def test_a_known_answer_beyond_this_context_is_complete() -> None:
    """A worker with a longer context had begun it."""
    engine = LLMEngine(FakeRunner(), EngineConfig(max_context=20))
    engine.add(Sequence("a", [1] * 15, GREEDY, completion_ids=[1] * 9))
    assert [(token.token_id, token.finish_reason) for token in engine.step().tokens] == [(None, FinishReason.LENGTH)]


def test_context_and_slots_obey_model_settings_and_memory() -> None:
    runner = FakeRunner(max_positions=1000, max_rows=1)
    assert LLMEngine(runner, EngineConfig(max_context=5000)).max_context == 1000
    assert LLMEngine(runner, EngineConfig(kv_memory_bytes=16 * 300)).max_context == 300
    assert LLMEngine(runner, EngineConfig()).num_free_slots == 1
    with pytest.raises(ConfigurationError):
        LLMEngine(runner, EngineConfig(kv_memory_bytes=16))
    with pytest.raises(ConfigurationError):
        EngineConfig(num_slots=0)


class Poisoned(FakeRunner):
    """Fails whenever a certain token is read, like a kernel that runs out of memory."""

    def __init__(self, poison: int, spoil: Callable[[Logits], None] | None = None) -> None:
        super().__init__()
        self.poison, self.spoil = poison, spoil

    def prefill(self, row: int, token_ids: list[int], past: int) -> Logits:
        logits = super().prefill(row, token_ids, past)
        if self.poison in token_ids:
            self._hurt(logits)
        return logits

    def decode(self, token_ids: list[int], lengths: list[int]) -> Logits:
        logits = super().decode(token_ids, lengths)
        if self.poison in token_ids:
            self._hurt(logits[token_ids.index(self.poison)])
        return logits

    def _hurt(self, logits: Logits) -> None:
        if self.spoil is None:
            raise ModelError("bad allocation")
        self.spoil(logits)


@pytest.mark.parametrize("spoil", [None, lambda logits: logits.__setitem__(3, np.nan)], ids=["exception", "not a number"])
def test_one_bad_row_does_not_take_the_others_with_it(spoil: Callable[[Logits], None] | None) -> None:
    prompts = {f"s{number}": [number + 1] * 5 for number in range(5)}
    wanted = {name: expected(prompt, GREEDY) for name, prompt in prompts.items()}
    poison = wanted["s2"][4]
    assert poison not in {token for name, ids in wanted.items() if name != "s2" for token in ids}
    engine = LLMEngine(Poisoned(poison, spoil), EngineConfig())
    collected = run(engine, [Sequence(name, prompt, GREEDY) for name, prompt in prompts.items()])
    assert list(collected.failures) == ["s2"]
    assert "s2" not in collected.reasons
    assert collected.token_ids.pop("s2") == wanted["s2"][:5]
    assert all(collected.token_ids[name] == wanted[name] for name in collected.token_ids)
    assert len(collected.token_ids) == 4


def test_a_prompt_that_cannot_be_computed_fails_alone() -> None:
    collected = run(LLMEngine(Poisoned(200), EngineConfig()), [Sequence("bad", [1, 200], GREEDY), Sequence("good", [2], GREEDY)])
    assert list(collected.failures) == ["bad"]
    assert collected.token_ids["good"] == expected([2], GREEDY)


class Crowded(FakeRunner):
    """Has no memory for rows longer than 256 tokens."""

    def resize(self, num_rows: int, capacity: int, lengths: list[int]) -> None:
        if capacity > 256:
            raise ModelError("no memory")
        super().resize(num_rows, capacity, lengths)


def test_without_memory_to_grow_the_longest_fails_and_the_others_go_on() -> None:
    collected = run(
        LLMEngine(Crowded(), EngineConfig(prefill_chunk=512)),
        [Sequence("short", [1], GREEDY), Sequence("long", [2] * 255, SamplingParams(9, 0, ignore_eos=True))],
    )
    assert list(collected.failures) == ["long"]
    assert len(collected.token_ids["long"]) == 2
    assert collected.token_ids["short"] == expected([1], GREEDY)


def test_log_probabilities_are_reported_on_request() -> None:
    engine = LLMEngine(FakeRunner(), EngineConfig())
    engine.add(Sequence("a", [1], SamplingParams(1, 0, logprobs=3)))
    (output,) = engine.step().tokens
    assert output.logprob == output.top_logprobs[0][1] == max(value for _, value in output.top_logprobs)
    assert output.token_id == output.top_logprobs[0][0]
    assert len(output.top_logprobs) == 3
