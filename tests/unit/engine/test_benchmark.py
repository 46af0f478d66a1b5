"""The numbers of `model bench` on a runner whose every step takes the same time by an injected clock."""

from collections.abc import Sequence

import pytest

from ai_assistant.engine.backends.fake import FakeRunner
from ai_assistant.engine.benchmark import decode_speed, first_token_seconds, resident_bytes
from ai_assistant.errors import InvalidRequestError

STEP = 0.25


class Clock:
    """Time passes only while the runner computes: a decode step takes STEP, a prompt STEP per 100 tokens."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedRunner(FakeRunner):
    def __init__(self, clock: Clock, **options: int) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.clock = clock
        self.prompts: list[tuple[int, ...]] = []
        self.widths: list[int] = []

    def prefill(self, row: int, token_ids: Sequence[int], past: int):  # type: ignore[no-untyped-def]
        self.clock.now += STEP * len(token_ids) / 100
        if past == 0:
            self.prompts.append(tuple(token_ids))
        return super().prefill(row, token_ids, past)

    def decode(self, token_ids: Sequence[int], lengths: Sequence[int]):  # type: ignore[no-untyped-def]
        self.clock.now += STEP
        self.widths.append(len(token_ids))
        return super().decode(token_ids, lengths)


@pytest.fixture
def runner() -> TimedRunner:
    return TimedRunner(Clock())


def test_the_first_token_costs_the_prompt_and_no_prompt_is_known_before(runner: TimedRunner) -> None:
    assert first_token_seconds(runner, 200, clock=runner.clock) == pytest.approx(2 * STEP)
    assert len(runner.prompts) == len(set(runner.prompts)) == 4


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_the_speed_is_that_of_decoding_alone(runner: TimedRunner, batch: int) -> None:
    assert decode_speed(runner, batch, 20, clock=runner.clock) == pytest.approx(batch / STEP)
    assert runner.widths[-20:] == [batch] * 20
    assert len(set(runner.prompts)) == batch


def test_a_short_context_bounds_the_run() -> None:
    clock = Clock()
    assert decode_speed(TimedRunner(clock, max_positions=32), 2, 20, clock=clock) == pytest.approx(2 / STEP)
    with pytest.raises(InvalidRequestError, match="do not fit into the 32"):
        decode_speed(TimedRunner(clock, max_positions=32), 2, 30, clock=clock)
    with pytest.raises(InvalidRequestError, match="200 tokens of prompt"):
        first_token_seconds(TimedRunner(clock, max_positions=32), 200, clock=clock)


def test_resident_memory_grows_with_what_is_held() -> None:
    before = resident_bytes()
    held = bytearray(64_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert resident_bytes() - before > 50_000_000
