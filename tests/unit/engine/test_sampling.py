import math
import time
from collections import Counter

import numpy as np
import pytest

from ai_assistant.engine.sampler import Sampled, sample
from ai_assistant.engine.sampling import SamplingParams, random_number
from ai_assistant.engine.sequence import Sequence


def pick(logits: list[float], *, prompt: list[int] | None = None, known: list[int] | None = None, **params: object) -> Sampled:
    sequence = Sequence("a", prompt or [0], SamplingParams(**{"max_tokens": 100, **params}), completion_ids=known or [])
    (sampled,) = sample(np.array([logits], np.float32), [sequence], [0])
    return sampled


def frequencies(logits: list[float], n: int = 4000, **params: object) -> dict[int, float]:
    counts = Counter(pick(logits, seed=seed, **params).token_id for seed in range(n))
    return {token: count / n for token, count in counts.items()}


@pytest.mark.parametrize(
    "bad",
    [
        {"max_tokens": 0},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": 0},
        {"top_p": 1.01},
        {"top_k": -1},
        {"min_p": 1.5},
        {"presence_penalty": 2.1},
        {"frequency_penalty": -2.1},
        {"repetition_penalty": 0},
        {"logprobs": -1},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_name(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        SamplingParams(**{"max_tokens": 1, **bad})


def test_the_random_number_depends_on_seed_and_index_alone_and_is_uniform() -> None:
    numbers = [random_number(seed, index) for seed in range(-50, 50) for index in range(100)]
    assert numbers == [random_number(seed, index) for seed in range(-50, 50) for index in range(100)]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= number < 1 for number in numbers)
    histogram, _ = np.histogram(numbers, bins=10, range=(0, 1))
    assert abs(histogram - 1000).max() < 130
    # A continued answer must get the numbers of the release that began it.
    assert random_number(42, 7) == 0.08603176010658542


def test_greedy_takes_the_lowest_id_of_equals() -> None:
    assert pick([1, 3, 3, 2], temperature=0).token_id == 1


def test_frequencies_follow_the_softmax() -> None:
    found = frequencies([0.0, 1.0, 2.0], temperature=2.0)
    weights = np.exp([0, 0.5, 1])
    for token, weight in enumerate(weights / weights.sum()):
        assert found[token] == pytest.approx(weight, abs=0.03)


def test_top_k_keeps_the_best_and_the_lower_id_of_equals() -> None:
    assert set(frequencies([1, 5, 5, 5, 0], 300, temperature=5.0, top_k=2)) == {1, 2}


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    logits = [math.log(p) for p in (0.1, 0.4, 0.3, 0.2)]
    assert set(frequencies(logits, 300, temperature=1.0, top_p=0.69)) == {1, 2}
    assert set(frequencies(logits, 300, temperature=1.0, top_p=0.71)) == {1, 2, 3}
    assert set(frequencies(logits, 50, temperature=1.0, top_p=1e-9)) == {1}
    # Of the two that top_k leaves, the first alone has 4/7.
    assert set(frequencies(logits, 300, temperature=1.0, top_k=2, top_p=0.55)) == {1}


def test_top_p_agrees_with_a_full_sort() -> None:
    rng = np.random.default_rng(0)
    for top_p in (0.1, 0.5, 0.9, 0.99, 0.9999):
        logits = (rng.normal(size=2000) * 3).astype(np.float32)
        weights = np.exp(logits.astype(np.float64) - logits.max())
        order = np.argsort(-weights, kind="stable")
        kept = order[: int(np.searchsorted(np.cumsum(weights[order]), top_p * weights.sum())) + 1]
        cumulative = np.cumsum(weights[kept])
        for seed in range(20):
            wanted = kept[np.searchsorted(cumulative, random_number(seed, 0) * cumulative[-1], side="right")]
            assert pick(logits.tolist(), temperature=1.0, top_p=top_p, seed=seed).token_id == wanted


def test_min_p_drops_what_is_far_below_the_best() -> None:
    logits = [math.log(p) for p in (0.6, 0.29, 0.11)]
    assert set(frequencies(logits, 300, temperature=1.0, min_p=0.3)) == {0, 1}


def test_a_tiny_temperature_is_greedy_without_overflow() -> None:
    assert pick([1, 3, -1e30], temperature=1e-300).token_id == 1


def test_penalties_count_answer_tokens_and_repetition_also_the_prompt() -> None:
    logits = [4.0, 3.9, 3.0, -1.0]
    assert pick(logits, temperature=0, prompt=[0], presence_penalty=1.0).token_id == 0
    assert pick(logits, temperature=0, known=[0], presence_penalty=1.0).token_id == 1
    assert pick(logits, temperature=0, known=[0, 1, 1], frequency_penalty=0.6).token_id == 0
    assert pick(logits, temperature=0, known=[0, 0, 1, 1], frequency_penalty=0.6).token_id == 2
    assert pick(logits, temperature=0, prompt=[0, 1], repetition_penalty=1.5).token_id == 2
    assert pick([-1.0, -1.2], temperature=0, prompt=[0], repetition_penalty=1.5).token_id == 1


def test_log_probabilities_are_the_model_s_own() -> None:
    logits = [math.log(p) for p in (0.2, 0.5, 0.3)]
    sampled = pick(logits, temperature=0, known=[1, 1], frequency_penalty=2.0, logprobs=2)
    assert sampled.token_id == 2
    assert sampled.logprob == pytest.approx(math.log(0.3), abs=1e-6)
    assert [token for token, _ in sampled.top_logprobs] == [1, 2]
    assert sampled.top_logprobs[0][1] == pytest.approx(math.log(0.5), abs=1e-6)
    assert pick(logits, temperature=0, logprobs=0).top_logprobs == ()
    assert pick(logits, temperature=0).logprob is None


def test_a_row_is_sampled_alike_in_every_batch() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(8, 500)).astype(np.float32)
    sequences = [Sequence(str(n), [1], SamplingParams(9, n % 3 * 0.4, top_p=0.9, seed=n)) for n in range(8)]
    together = sample(logits, sequences, list(range(8)))
    assert together == [sample(logits[n : n + 1], sequences[n : n + 1], [0])[0] for n in range(8)]


def test_drawing_by_blocks_is_drawing_by_one_running_sum() -> None:
    rng = np.random.default_rng(2)
    for size in (1, 1023, 1024, 1025, 5000):
        logits = (rng.normal(size=size) * 2).astype(np.float32)
        cumulative = np.cumsum(np.exp(logits.astype(np.float64) - float(logits.max())))
        for seed in range(200):
            wanted = np.searchsorted(cumulative, random_number(seed, 0) * cumulative[-1], side="right")
            assert pick(logits.tolist(), temperature=1.0, seed=seed).token_id == wanted


def test_every_token_of_an_answer_has_its_own_random_number() -> None:
    drawn = [pick([0.0] * 100, known=[1] * index, temperature=1.0, seed=9).token_id for index in range(30)]
    assert drawn == [int(random_number(9, index) * 100) for index in range(30)]
    assert len(set(drawn)) > 15


def test_counts_that_grow_with_the_answer_are_those_of_the_whole_text() -> None:
    rng = np.random.default_rng(4)
    sequence = Sequence("a", rng.integers(0, 60, 40).tolist(), SamplingParams(99))
    for token_id in rng.integers(0, 120, 300).tolist():
        sequence.completion_ids.append(token_id)
        counts = sequence.token_counts
        ids, number = counts.answered
        assert dict(zip(ids.tolist(), number.tolist(), strict=True)) == Counter(sequence.completion_ids)
        assert sorted(counts.seen_ids.tolist()) == sorted({*sequence.prompt_ids.tolist(), *sequence.completion_ids})


def test_a_step_with_penalties_does_not_go_over_the_history() -> None:
    """The text is longer, its words are the same: as many as a penalty touches."""
    params = SamplingParams(10**6, 0.0, frequency_penalty=0.1, repetition_penalty=1.1, ignore_eos=True)
    logits = np.random.default_rng(5).normal(size=(1, 5000)).astype(np.float32)

    def seconds(length: int) -> float:
        sequence = Sequence("a", [1, 2, 3] * length, params, completion_ids=[4, 5] * length)
        sample(logits, [sequence], [0])
        times = []
        for _ in range(30):
            started = time.thread_time()
            sequence.completion_ids.append(sample(logits, [sequence], [0])[0].token_id)
            times.append(time.thread_time() - started)
        return sorted(times)[len(times) // 2]

    assert seconds(50_000) < 4 * seconds(50)
