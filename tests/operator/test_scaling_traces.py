"""What every decision keeps to, over random numbers and over simulated loads."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ai_assistant_operator.demand import Demand
from ai_assistant_operator.scaling import STALE_SECONDS, capacity, decide
from ai_assistant_operator.scaling_facts import BUSY_COST, History, Limits, Observed, Pod
from bench_scaling.cluster import IDLE_SECONDS, SLOTS, Run, Task, simulate
from bench_scaling.controllers import CONTROLLERS, Ours
from bench_scaling.shapes import SHAPES, peak

Moment = tuple[float, Demand | None, Observed, Limits]


def trace(seed: int) -> Iterator[Moment]:
    """Numbers that jump about, with pods, outages and changes of the spec, some of which contradict each other."""
    chance = random.Random(seed)
    limits = Limits(chance.randint(0, 3), chance.randint(0, 12), chance.randint(0, 6), chance.choice([None, 5.0, 30.0]))
    limits = replace(limits, idle_seconds=chance.choice([0.0, 10.0, 60.0]), slots=chance.randint(1, 8))
    now, desired = 1000.0, chance.randint(0, 6)
    for _ in range(150):
        now += chance.choice([0.0, 0.01, 1.0, 5.0, 70.0])
        pods = tuple(
            Pod(f"pod-{number}", chance.random() < 0.8, chance.uniform(0, 600), chance.random() < 0.1)
            for number in range(chance.randint(0, 8))
        )
        busy = {pod.name: chance.randint(1, limits.slots) for pod in pods if chance.random() < 0.3}
        queued = chance.choice([0, 0, 0, 1, 5, 40, 1000])
        depth = chance.choice([queued, queued, 0, None, queued + 2])
        running = sum(busy.values()) + chance.choice([0, 0, 0, 1])
        at = now - chance.choice([0.0, 0.0, 3.0, STALE_SECONDS + 1, float("inf")])
        demand = Demand(queued, depth, running, chance.uniform(0, 90) if queued else 0.0, busy, at)
        if chance.random() < 0.02:
            limits = replace(limits, max_replicas=chance.randint(0, 12), replicas=chance.choice([None, None, 4]))
        desired = chance.choice([desired, len([pod for pod in pods if not pod.terminating])])
        yield now, demand if chance.random() < 0.95 else None, Observed(desired, pods, chance.random() < 0.1), limits


@pytest.mark.parametrize("seed", range(60))
def test_random_numbers(seed: int) -> None:
    history, before = History(), None
    for now, demand, replicas, limits in trace(seed):
        current = replicas.desired if history.replicas is None else history.replicas
        decision, after = decide(now, demand, replicas, limits, history)
        assert decide(now, demand, replicas, limits, history) == (decision, after), "the same input, the same answer"
        again, _ = decide(now, demand, replicas, limits, after)
        assert (again.replicas, again.deletion_costs) == (decision.replicas, decision.deletion_costs)
        assert decision.reason
        assert decision.wake_after is None or decision.wake_after > 0
        assert len(after.levels) <= 16
        if limits.replicas is not None:
            assert decision.replicas == limits.replicas
        else:
            high = max(limits.max_replicas, 0)
            assert min(limits.min_replicas, high) <= decision.replicas <= high
            is_old = demand is None or now - demand.at > STALE_SECONDS
            if is_old:
                assert decision.replicas == min(max(current, limits.min_replicas), high), "an old word moves nothing"
            elif decision.replicas < min(current, high):
                assert demand is not None
                assert demand.backlog == 0
                assert demand.redis_depth == 0
                stay = {pod.name for pod in replicas.live} & set(demand.busy)
                assert decision.replicas >= len(stay)
                costs = dict(decision.deletion_costs)
                assert all(costs[name] == BUSY_COST for name in stay if costs)
                assert not stay & set(decision.idle_pods_to_mark)
            if not is_old and demand is not None:
                load = (
                    demand.backlog
                    + demand.running
                    - sum(demand.busy.get(pod.name, 0) for pod in replicas.pods if pod.terminating)
                )
                assert decision.replicas >= min(high, -(-load // capacity(demand, limits))), "enough in one step"
                more = replace(demand, queued=demand.queued + 7, redis_depth=demand.redis_depth and demand.redis_depth + 7)
                assert decide(now, more, replicas, limits, history)[0].replicas >= decision.replicas, "more waits, not fewer"
        if before is not None and limits == before and history.levels:
            assert history.levels[0].needed >= history.levels[-1].needed
        history, before = after, limits


def ours(shape: str, **more: int) -> tuple[Run, Ours, int]:
    seconds, tasks = SHAPES[shape]()
    controller = Ours()
    return simulate(tasks, seconds, controller, shape, **more), controller, peak(tasks)[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_load_is_served_and_ends_at_zero(shape: str) -> None:
    run, controller, needed = ours(shape)
    assert run.interrupted == 0, "no pod goes while it is at work"
    assert run.unfinished == 0
    assert run.desired[-1] == 0
    assert max(run.desired) <= needed + 6
    # each turn takes an idle time or a rise of the load: with pods that take a while to start nothing swings by itself
    rises = {"step": 1, "ramp": 1, "bursts": 1, "on-off": 5, "day": 5, "poison": 1}[shape]
    assert run.turns <= 2 * rises - 1
    assert controller.decisions < len(run.desired), "decides when something has changed, not all the time"


def test_a_step_of_100_is_one_step() -> None:
    run, _, needed = ours("step")
    changes = [number for number, before in zip(run.desired[1:], run.desired, strict=False) if number != before]
    assert changes[0] == needed == 17
    assert max(run.desired) == 17, "no more while they start"


def test_idle_pods_are_given_back_around_a_task_that_takes_long() -> None:
    run, _, _ = ours("poison")
    last = run.desired[int(300 / 0.5)]
    assert last == 1, "only the pod with the long task is left after five minutes"


def test_zero_comes_an_idle_time_after_the_last_task() -> None:
    run = simulate([Task(10.0, 20.0)], 300.0, Ours())
    up = next(tick for tick, number in enumerate(run.desired) if number) * 0.5
    down = max(tick for tick, number in enumerate(run.desired) if number) * 0.5
    assert up == 10.0
    assert 10 + 8 + 20 + IDLE_SECONDS <= down <= 10 + 16 + 20 + IDLE_SECONDS + 2


def test_pods_that_never_start_do_not_block() -> None:
    tasks = [Task(5.0, 10.0) for _ in range(SLOTS)]
    run = simulate(tasks, 1200.0, Ours(), never_ready=1)
    assert run.unfinished == 0, "another pod was asked for after a while"
    assert max(run.desired) <= 3


def test_random_loads_do_not_swing() -> None:
    for seed in range(12):
        chance = random.Random(seed)
        tasks = [Task(chance.uniform(0, 600), chance.uniform(1, 60)) for _ in range(chance.randint(1, 400))]
        run = simulate(tasks, 1000.0, Ours(), str(seed))
        assert (run.interrupted, run.unfinished, run.desired[-1]) == (0, 0, 0)
        assert run.turns <= 2 * 1000 / IDLE_SECONDS


def test_ours_waits_less_than_rivals_with_fewer_pods_for_a_step() -> None:
    """What docs/scaling.md shows, kept from getting worse."""
    seconds, tasks = SHAPES["step"]()
    runs = {name: simulate(tasks, seconds, controller(), "step") for name, controller in CONTROLLERS.items()}
    mine = runs.pop("ai-assistant")
    assert all(mine.wait(0.5) < run.wait(0.5) for run in runs.values())
    assert all(mine.pod_seconds < run.pod_seconds for name, run in runs.items() if name != "Knative KPA")
