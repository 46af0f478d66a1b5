"""Many chats on a real model: the same answers in any company, next turns from parked rows, a long prompt beside others.

Times are compared within a run only, with wide margins, and are those of this thread: the machine belongs to others too.
"""

import json
import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_assistant.engine.backends import load_runner
from ai_assistant.engine.backends.onnx import OnnxRunner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_package import load_package
from ai_assistant.engine.model_runner import ModelRunner
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import FinishReason, Sequence
from ai_assistant.engine.step_output import StepStats

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "smollm2_reference.json").read_text(encoding="utf-8"))
CASES: list[dict[str, Any]] = REFERENCE["cases"]
TEXT: list[int] = [token_id for case in CASES for token_id in (*case["prompt_ids"], *case["greedy_ids"])]
SYSTEM = TEXT[:40]


@pytest.fixture(scope="module", params=["fp32", "int8"])
def runner(request: pytest.FixtureRequest) -> ModelRunner:
    fixture = "demo_package" if request.param == "fp32" else "demo_package_int8"
    return load_runner(load_package(request.getfixturevalue(fixture)), EngineConfig(), threads=1)


class Served:
    """What an engine said, with the times of the tokens and everything that a token's numbers were."""

    def __init__(self) -> None:
        self.token_ids: dict[str, list[int]] = defaultdict(list)
        self.numbers: dict[str, list[Any]] = defaultdict(list)
        self.times: dict[str, list[float]] = defaultdict(list)
        self.reasons: dict[str, FinishReason] = {}
        self.stats: StepStats | None = None

    def step(self, engine: LLMEngine) -> None:
        output = engine.step()
        assert not output.failures
        now = time.thread_time()
        for token in output.tokens:
            if token.token_id is not None:
                self.token_ids[token.seq_id].append(token.token_id)
                self.numbers[token.seq_id].append((token.logprob, token.top_logprobs))
                self.times[token.seq_id].append(now)
            if token.finish_reason is not None:
                self.reasons[token.seq_id] = token.finish_reason
        self.stats = output.stats


def serve(engine: LLMEngine, sequences: list[Sequence], served: Served | None = None, at_once: int = 99) -> Served:
    """Run sequences to their ends, with so many in the engine at a time."""
    served, waiting = served or Served(), list(sequences)
    while waiting or engine.has_work:
        while waiting and engine.num_running + engine.num_waiting < at_once:
            engine.add(waiting.pop(0))
        served.step(engine)
    return served


def text(start: int, length: int) -> list[int]:
    return (TEXT * (length // len(TEXT) + 2))[start % len(TEXT) :][:length]


def mixed(seed: int) -> list[Sequence]:
    """Greedy and sampled requests, short and long, half of them with the same instructions."""
    rng, sequences = random.Random(seed), []
    for number in range(16):
        prompt = [*(SYSTEM if number % 2 else []), *text(rng.randrange(500), rng.choice([5, 20, 40, 90]))]
        creative = {"temperature": 0.9, "top_p": 0.9, "seed": number, "presence_penalty": 0.4, "repetition_penalty": 1.1}
        params: dict[str, Any] = creative if number % 3 == 0 else {"temperature": 0}
        sequences.append(Sequence(f"s{number}", prompt, SamplingParams(rng.randint(3, 6), ignore_eos=True, logprobs=3, **params)))
    return sequences


def test_answers_are_the_same_bits_in_any_company(runner: ModelRunner) -> None:
    alone = serve(LLMEngine(runner, EngineConfig(prefix_reuse=False)), mixed(1), at_once=1)
    assert len(alone.token_ids) == 16
    for at_once in (1, 2, 3, 8, 16):
        served = serve(LLMEngine(runner, EngineConfig()), mixed(1), at_once=at_once)
        assert served.token_ids == alone.token_ids, at_once
        assert served.numbers == alone.numbers, at_once
        assert served.stats is not None
        assert served.stats.reused_tokens >= (7 if at_once == 1 else 4) * len(SYSTEM)
    served = serve(LLMEngine(runner, EngineConfig(prefill_chunk=17)), mixed(1), at_once=4)
    assert (served.token_ids, served.numbers) == (alone.token_ids, alone.numbers)


def test_what_was_read_as_a_prompt_is_reused_bit_for_bit(runner: ModelRunner) -> None:
    params = SamplingParams(6, temperature=0, ignore_eos=True, logprobs=5)
    prompts = {"first": [*SYSTEM, *text(7, 50)], "shares": [*SYSTEM, *text(300, 40)], "again": [*SYSTEM, *text(7, 50)]}
    cold, warm = LLMEngine(runner, EngineConfig(prefix_reuse=False)), LLMEngine(runner, EngineConfig())
    wanted = [serve(cold, [Sequence(name, prompt, params)]).numbers[name] for name, prompt in prompts.items()]
    found = []
    for name, prompt in prompts.items():
        served = serve(warm, [Sequence(name, prompt, params)])
        found.append(served.numbers[name])
    assert served.stats is not None
    assert served.stats.reused_tokens == len(SYSTEM) + len(prompts["again"]) - 2
    assert found == wanted


def turns(engine: LLMEngine, name: str, beside: int = 0) -> list[list[int]]:
    """A conversation of three turns, with others running beside it."""
    params, prompt, answers = SamplingParams(20, temperature=0.8, seed=5, ignore_eos=True), text(20, 60), []
    for turn in range(3):
        others = [Sequence(f"{name} other {turn} {n}", text(50 * n + 13, 45), params) for n in range(beside)]
        answer = serve(engine, [Sequence(f"{name} {turn}", prompt, params), *others]).token_ids[f"{name} {turn}"]
        answers.append(answer)
        prompt = [*prompt, *answer, *text(100 * turn, 25)]
    return answers


def test_a_conversation_goes_on_from_its_own_row_and_repeats_itself(runner: ModelRunner) -> None:
    alone = turns(LLMEngine(runner, EngineConfig()), "a")
    assert turns(LLMEngine(runner, EngineConfig()), "b", beside=4) == alone
    cold = turns(LLMEngine(runner, EngineConfig(prefix_reuse=False)), "c")
    assert cold[0] == alone[0]


def test_a_continued_next_turn_is_that_of_a_worker_without_the_row(runner: ModelRunner) -> None:
    """It reads its prompt as its first run did when that had nothing to reuse; parked answers do not matter."""
    params = SamplingParams(16, temperature=0.8, seed=3, ignore_eos=True)
    engine = LLMEngine(runner, EngineConfig())
    first = serve(engine, [Sequence("a", text(20, 60), params)]).token_ids["a"]
    prompt = [*text(20, 60), *first, *text(0, 30)]
    whole = serve(LLMEngine(runner, EngineConfig(prefix_reuse=False)), [Sequence("b", prompt, params)]).token_ids["b"]
    engine = LLMEngine(runner, EngineConfig())
    serve(engine, [Sequence("a", text(20, 60), params)])
    known = Sequence("b", prompt, params, completion_ids=whole[:7])
    assert serve(engine, [known]).token_ids["b"] == whole[7:]
    assert known.num_exact == len(prompt)


def test_the_next_turn_of_a_conversation_starts_much_sooner(demo_package_int8: Path) -> None:
    runner = load_runner(load_package(demo_package_int8), EngineConfig(), threads=1)
    params = SamplingParams(8, temperature=0, ignore_eos=True)

    def seconds(engine: LLMEngine, prompt: list[int]) -> tuple[float, list[int]]:
        started = time.thread_time()
        served = serve(engine, [Sequence("a", prompt, params)])
        return served.times["a"][0] - started, served.token_ids["a"]

    ratios = []
    for attempt in range(3):
        engine, history = LLMEngine(runner, EngineConfig()), text(40 * attempt, 560)
        _, answer = seconds(engine, history)
        turn = [*history, *answer, *text(7 * attempt, 40)]
        warm, _ = seconds(engine, turn)
        cold, _ = seconds(LLMEngine(runner, EngineConfig()), turn)
        ratios.append(cold / warm)
    assert np.median(ratios) > 4, ratios


def test_a_long_prompt_leaves_running_chats_their_pace(demo_package_int8: Path) -> None:
    """Neighbours take caches and bandwidth by bursts, so a bad run counts only if the next one is bad as well."""
    runner = load_runner(load_package(demo_package_int8), EngineConfig(), threads=1)
    slowdowns = []
    while not slowdowns or (slowdowns[-1][1] >= 5 and len(slowdowns) < 2):
        slowdowns.append(slowdown_beside_a_long_prompt(runner))
    median, slowest = slowdowns[-1]
    assert median < 3.5, slowdowns
    # The promise is 4, held on a simulated clock by the unit tests and with two threads; one thread has it harder.
    assert slowest < 5, slowdowns


def slowdown_beside_a_long_prompt(runner: ModelRunner) -> tuple[float, float]:
    """Median and 99th percentile of the pauses of eight chats beside a prompt of 6,000 tokens, in medians without it."""
    engine, served = LLMEngine(runner, EngineConfig(), clock=time.thread_time), Served()
    chats, forever = [f"chat{number}" for number in range(8)], SamplingParams(4000, temperature=0, ignore_eos=True)
    for number, name in enumerate(chats):
        engine.add(Sequence(name, text(60 * number, 300), forever))
    while len(served.times[chats[-1]]) < 10:
        served.step(engine)

    def gaps(is_over: Callable[[], bool]) -> list[float]:
        """Between the tokens of the chats from now on."""
        since = time.thread_time()
        while not is_over():
            served.step(engine)
        return [gap for name in chats for gap in np.diff([at for at in served.times[name] if at >= since]).tolist()]

    def quiet_gaps() -> list[float]:
        until = len(served.times["chat0"]) + 40
        return gaps(lambda: len(served.times["chat0"]) >= until)

    # Before and after: a step takes longer as the chats grow.
    quiet = quiet_gaps()
    engine.add(Sequence("long", text(5, 6000), SamplingParams(1)))
    beside = gaps(lambda: "long" in served.times)
    quiet += quiet_gaps()
    assert len(beside) > 8 * 30, "the prompt was to be read in many pieces"
    return float(np.median(beside) / np.median(quiet)), float(np.quantile(beside, 0.99) / np.median(quiet))


def test_the_full_context_ends_an_answer_on_a_real_model(runner: ModelRunner) -> None:
    engine = LLMEngine(runner, EngineConfig(max_context=100))
    served = serve(engine, [Sequence("a", text(0, 90), SamplingParams(500, temperature=0, ignore_eos=True))])
    assert served.reasons == {"a": FinishReason.LENGTH}
    assert len(served.token_ids["a"]) == 10


def test_long_rows_are_exchanged_and_keep_every_bit(runner: ModelRunner) -> None:
    """A row that joins changes places with whatever is where it has to go."""
    assert isinstance(runner, OnnxRunner)
    runner.resize(3, 1024, [])
    one = runner.prefill(0, text(0, 200), 0).copy()
    runner.prefill(2, text(50, 120), 0)
    runner.swap(0, 2, 200)
    runner.swap(2, 1, 200)
    runner.free(2)
    runner.resize(3, 2048, [120, 200, 0])
    runner.move(1, 2, 150)
    after = [runner.prefill(row, text(0, 200)[150:], 150).copy() for row in (1, 2)]
    assert np.array_equal(after[0], one)
    assert np.array_equal(after[1], one)
