"""Decisions on replicas: a table of situations."""

from dataclasses import replace
from typing import Any

import pytest

from ai_assistant_operator.demand import Demand
from ai_assistant_operator.scaling import STALE_SECONDS, STEP_SECONDS, decide
from ai_assistant_operator.scaling_facts import START_SECONDS, Decision, History, Limits, Observed, Pod

LIMITS = Limits(min_replicas=0, max_replicas=8, target_queue_depth=2, max_wait_seconds=30, idle_seconds=60, slots=4)


def demand(queued: int = 0, *, at: float = 0.0, busy: dict[str, int] | None = None, **more: Any) -> Demand:
    busy = busy or {}
    numbers = {"redis_depth": queued, "running": sum(busy.values()), "oldest_seconds": 1.0 if queued else 0.0} | more
    return Demand(queued=queued, busy=busy, at=at, **numbers)


def cluster(ready: int, starting: int = 0, **more: Any) -> Observed:
    pods = [Pod(f"pod-{number}", number < ready, 100.0 if number < ready else 5.0) for number in range(ready + starting)]
    return Observed(more.pop("desired", ready + starting), tuple(pods), **more)


def at_work(*pods: int, rows: int = 4) -> dict[str, int]:
    return {f"pod-{number}": rows for number in pods}


class Assistant:
    """Decides again and again; keeps the history."""

    def __init__(self, replicas: Observed, limits: Limits = LIMITS) -> None:
        self.replicas, self.limits, self.history = replicas, limits, History()

    def decide(self, now: float, numbers: Demand | None) -> Decision:
        numbers = None if numbers is None else replace(numbers, at=now if numbers.at == 0 else numbers.at)
        decision, self.history = decide(now, numbers, self.replicas, self.limits, self.history)
        again, _ = decide(now, numbers, self.replicas, self.limits, self.history)
        assert (again.replicas, again.reason, again.deletion_costs) == (
            decision.replicas,
            decision.reason,
            decision.deletion_costs,
        ), "asked again it says the same"
        return decision


def quiet(assistant: Assistant, numbers: Demand, since: float = 0.0) -> Decision:
    """The decision after the idle time with these numbers, by way of `wake_after`."""
    first = assistant.decide(since, numbers)
    assert first.wake_after is not None
    return assistant.decide(since + first.wake_after, numbers)


@pytest.mark.parametrize(
    ("numbers", "replicas", "wanted", "cause", "reason"),
    [
        (demand(), cluster(0), 0, "steady", "nothing to do"),
        (demand(1), cluster(0), 1, "backlog", "1 task waits for 0 replicas: 1 wanted"),
        (demand(100), cluster(0), 8, "limit", "100 tasks wait for 0 replicas: 17 wanted, limit 8"),
        (demand(40), cluster(0), 7, "backlog", "40 tasks wait for 0 replicas: 7 wanted"),
        (demand(40), cluster(0, 7), 7, "backlog", "40 tasks wait for 0 replicas: 7 wanted"),
        (demand(34, busy=at_work(0, 1)), cluster(2, 5), 7, "backlog", "34 tasks wait for 2 replicas: 7 wanted"),
        (demand(2, busy=at_work(0)), cluster(1), 1, "steady", "1 replica will do"),
        (demand(3, busy=at_work(0)), cluster(1), 2, "backlog", "3 tasks wait for 1 replica: 2 wanted"),
        (demand(0, redis_depth=9), cluster(0), 2, "backlog", "9 tasks wait for 0 replicas: 2 wanted"),
        (demand(9, redis_depth=None), cluster(0), 2, "backlog", "9 tasks wait for 0 replicas: 2 wanted"),
        (demand(0, busy=at_work(0, rows=9)), cluster(1), 1, "steady", "1 replica will do"),
    ],
)
def test_what_is_needed(numbers: Demand, replicas: Observed, wanted: int, cause: str, reason: str) -> None:
    decision = Assistant(replicas).decide(0.0, numbers)
    assert (decision.replicas, decision.cause, decision.reason) == (wanted, cause, reason)
    assert decision.deletion_costs == ()


def test_down_after_the_idle_time_only() -> None:
    assistant = Assistant(cluster(3))
    decision = assistant.decide(0.0, demand())
    assert (decision.replicas, decision.cause, decision.wake_after) == (3, "idle", 60.0)
    assert decision.reason == "3 replicas kept until fewer have sufficed for 60 s"
    assert assistant.decide(59.9, demand()).replicas == 3
    decision = assistant.decide(60.0, demand())
    assert (decision.replicas, decision.cause, decision.wake_after) == (0, "idle", None)
    assert set(decision.idle_pods_to_mark) == {"pod-0", "pod-1", "pod-2"}


def test_down_to_what_has_sufficed() -> None:
    """Short moments in the queue of tasks that are taken at once do not hold replicas that nobody needs."""
    assistant = Assistant(cluster(5))
    for second in range(120):
        decision = assistant.decide(second, demand(second % 2, busy=at_work(3, 4, rows=2)))
        assert decision.replicas == (5 if second < 60 else 2), second
        if second == 60:
            assert dict(decision.deletion_costs) == {"pod-0": -1, "pod-1": -1, "pod-2": -1, "pod-3": 1, "pod-4": 1}
            assert decision.idle_pods_to_mark == ("pod-0", "pod-1", "pod-2")


def test_never_below_what_is_at_work() -> None:
    assistant = Assistant(cluster(4))
    numbers = demand(busy=at_work(0, 1, 3, rows=1))
    decision = quiet(assistant, numbers)
    assert (decision.replicas, decision.idle_pods_to_mark) == (3, ("pod-2",))
    assistant = Assistant(cluster(2))
    decision = quiet(assistant, demand(busy=at_work(0, 1, rows=1)))
    assert (decision.replicas, decision.cause, decision.reason) == (2, "busy", "2 replicas kept: at work")


def test_a_pod_on_its_way_out_is_no_replica() -> None:
    leaving = Pod("pod-9", ready=True, age_seconds=200, terminating=True)
    replicas = Observed(2, (*cluster(2).pods, leaving))
    decision = quiet(Assistant(replicas), demand(busy={"pod-9": 3}))
    assert (decision.replicas, set(decision.idle_pods_to_mark)) == (0, {"pod-0", "pod-1"})
    last = Assistant(Observed(0, (leaving,)))
    assert last.decide(0.0, demand(busy={"pod-9": 3})).replicas == 0, "what it still works on calls for nobody"
    assert last.decide(1.0, demand(3)).replicas == 1, "until it hands it back"


@pytest.mark.parametrize(
    ("numbers", "replicas"),
    [
        (demand(busy={"unknown-1": 1, "unknown-2": 1}), cluster(2)),  # new pods that are not seen yet
        (demand(running=1), cluster(2)),  # somebody works, and it is not known who
        (demand(busy=at_work(0, rows=1)), Observed(2, (Pod("pod-0", ready=False, age_seconds=90), Pod("pod-1", ready=True)))),
        (demand(busy=at_work(0, rows=1)), cluster(2, rolling=True)),
        (demand(redis_depth=1), cluster(2)),
        (demand(redis_depth=None), cluster(2)),
    ],
)
def test_when_in_doubt_not_down(numbers: Demand, replicas: Observed) -> None:
    assistant = Assistant(replicas)
    for now in (0.0, 61.0, 1000.0):
        assert assistant.decide(now, numbers).replicas == 2


def test_a_rollout_that_hangs_keeps_nobody_from_going_to_zero() -> None:
    assert quiet(Assistant(cluster(2, rolling=True)), demand()).replicas == 0


def test_no_signal_no_change() -> None:
    assistant = Assistant(cluster(3))
    assistant.decide(0.0, demand())
    for now, numbers in [(61.0, None), (100.0, demand(at=100 - STALE_SECONDS - 0.1)), (700.0, demand(at=float("-inf")))]:
        decision = assistant.decide(now, numbers)
        assert (decision.replicas, decision.cause) == (3, "no_signal")
    assert assistant.decide(701.0, demand()).replicas == 3, "it is not known that nobody was there"
    assert assistant.decide(760.0, demand()).replicas == 3
    assert assistant.decide(761.1, demand()).replicas == 0


def test_no_signal_from_zero() -> None:
    decision = Assistant(cluster(0), replace(LIMITS, min_replicas=2)).decide(0.0, None)
    assert (decision.replicas, decision.cause) == (2, "no_signal")


def test_redis_lost_all_and_the_rows_wait() -> None:
    assistant = Assistant(cluster(8))
    numbers = demand(100, busy=at_work(*range(8)))
    for now in range(0, 600, 7):
        decision = assistant.decide(now, replace(numbers, redis_depth=0))
        assert (decision.replicas, decision.cause) == (8, "limit")


def test_redis_away_scales_up_but_not_down() -> None:
    assistant = Assistant(cluster(2))
    numbers = demand(redis_depth=None)
    assert assistant.decide(0.0, numbers).replicas == 2
    assert assistant.decide(100.0, numbers).reason == "Redis does not tell how much waits: 2 replicas kept"
    assert assistant.decide(101.0, demand(30, redis_depth=None)).replicas == 5


def test_bursts_within_the_idle_time_turn_nothing() -> None:
    assistant = Assistant(cluster(0))
    seen = []
    for now in range(0, 600, 5):
        numbers = demand(40) if now % 50 == 0 else demand()
        decision = assistant.decide(float(now), numbers)
        assistant.replicas = cluster(decision.replicas)
        seen.append(decision.replicas)
    assert set(seen) == {7}


def test_what_was_decided_counts_before_the_cluster_shows_it() -> None:
    assistant = Assistant(cluster(0))
    assert assistant.decide(0.0, demand(40)).replicas == 7
    assert assistant.decide(0.01, None).replicas == 7, "not back to the 0 that the cluster still shows"
    assert assistant.decide(0.02, demand()).replicas == 7


def test_a_restarted_operator_starts_the_idle_time_anew() -> None:
    assert Assistant(cluster(5)).decide(1000.0, demand()).replicas == 5


def test_a_task_that_waits_too_long_adds_one_replica_per_interval() -> None:
    assistant = Assistant(cluster(2))
    numbers = demand(1, busy=at_work(0, 1), oldest_seconds=10.0)
    decision = assistant.decide(0.0, numbers)
    assert (decision.replicas, decision.wake_after) == (2, 20.0)
    late = replace(numbers, oldest_seconds=31.0)
    for now in (20.0, 21.0, 22.0):
        decision = assistant.decide(now, late)
        assert (decision.replicas, decision.cause) == (3, "wait")
    assert decision.reason == "a task waits longer than 30 s: 3 replicas wanted"
    assistant.replicas = cluster(2, 1)
    assert assistant.decide(22.0 + STEP_SECONDS, late).replicas == 3, "one is coming"
    assistant.replicas = cluster(3)
    assert assistant.decide(40.0, late).replicas == 3, "the third one is free"
    late = replace(late, busy=at_work(0, 1, 2), running=12)
    assert assistant.decide(41.0, late).replicas == 4
    assert assistant.decide(41.0 + STEP_SECONDS - 0.1, late).replicas == 4
    assistant.replicas = cluster(4)
    late = replace(late, busy=at_work(0, 1, 2, 3), running=16)
    assert assistant.decide(41.0 + STEP_SECONDS, late).replicas == 5
    # and they stay for the idle time
    assistant.replicas = cluster(5)
    assert assistant.decide(60.0, demand(busy=at_work(0))).replicas == 5
    assert assistant.decide(119.0, demand(busy=at_work(0))).replicas == 5
    assert assistant.decide(120.1, demand(busy=at_work(0))).replicas == 1


def test_the_age_grows_between_two_readings() -> None:
    numbers = demand(1, busy=at_work(0), oldest_seconds=25.0, at=100.0)
    assert Assistant(cluster(1)).decide(104.0, numbers).replicas == 1
    assert Assistant(cluster(1)).decide(106.0, numbers).replicas == 2


def test_a_task_that_waits_for_its_conversation_adds_nothing() -> None:
    assistant = Assistant(cluster(2))
    decision = assistant.decide(0.0, demand(1, busy=at_work(0, rows=1), oldest_seconds=300.0))
    assert (decision.replicas, decision.cause) == (2, "wait")
    assert "not for want of replicas" in decision.reason
    assert decision.wake_after is None or decision.wake_after >= 1, "no busy loop"


def test_a_pod_that_never_gets_ready_is_not_waited_for_without_end() -> None:
    stuck = Pod("pod-1", ready=False, age_seconds=START_SECONDS - 10)
    numbers = demand(3, busy=at_work(0), oldest_seconds=100.0)
    assistant = Assistant(Observed(2, (Pod("pod-0", ready=True), stuck)))
    decision = assistant.decide(0.0, numbers)
    assert (decision.replicas, decision.wake_after) == (2, 10.0)
    assistant.replicas = Observed(2, (Pod("pod-0", ready=True), replace(stuck, age_seconds=START_SECONDS)))
    assert assistant.decide(10.0, numbers).replicas == 3


def test_spec_replicas_is_obeyed_and_removed_without_a_jump() -> None:
    assistant = Assistant(cluster(2), replace(LIMITS, replicas=5))
    decision = assistant.decide(0.0, demand(100))
    assert (decision.replicas, decision.cause, decision.reason) == (5, "manual", "spec.replicas is 5")
    assistant.replicas = cluster(5)
    assert assistant.decide(500.0, None).replicas == 5
    assistant.limits = LIMITS
    assert assistant.decide(501.0, demand()).replicas == 5
    assert assistant.decide(561.1, demand()).replicas == 0
    beyond = Assistant(cluster(2), replace(LIMITS, replicas=50))
    assert beyond.decide(0.0, demand()).replicas == 50, "whoever sets it knows why"


def test_spec_replicas_down_takes_idle_pods_first() -> None:
    assistant = Assistant(cluster(4), replace(LIMITS, replicas=2))
    decision = assistant.decide(0.0, demand(busy=at_work(1, rows=2)))
    assert (decision.replicas, len(decision.idle_pods_to_mark)) == (2, 2)
    assert dict(decision.deletion_costs)["pod-1"] == 1


def test_paused_follows_the_cluster() -> None:
    assistant = Assistant(cluster(2), replace(LIMITS, paused=True, min_replicas=4))
    assert assistant.decide(0.0, demand(100)).replicas == 2
    assistant.replicas = cluster(6)  # somebody scales the Deployment by hand meanwhile
    assert assistant.decide(500.0, demand()).replicas == 6
    assistant.limits = replace(LIMITS, paused=False)
    assert assistant.decide(501.0, demand()).replicas == 6
    assert assistant.decide(561.1, demand()).replicas == 0


def test_limits_move_replicas_at_once() -> None:
    assistant = Assistant(cluster(6), replace(LIMITS, max_replicas=3))
    decision = assistant.decide(0.0, demand(50, busy=at_work(*range(6))))
    assert (decision.replicas, decision.cause) == (3, "limit")
    decision = Assistant(cluster(0), replace(LIMITS, min_replicas=2)).decide(0.0, demand())
    assert (decision.replicas, decision.cause, decision.reason) == (2, "minimum", "2 replicas at least by minReplicas")


@pytest.mark.parametrize(
    "limits",
    [
        Limits(min_replicas=5, max_replicas=2),
        Limits(min_replicas=-1, max_replicas=-3),
        Limits(max_replicas=0, slots=0, target_queue_depth=0),
        Limits(max_replicas=3, slots=-5, target_queue_depth=-5, idle_seconds=-1, max_wait_seconds=-1),
        Limits(replicas=-4),
    ],
)
def test_limits_that_make_no_sense_crash_nothing(limits: Limits) -> None:
    for numbers in (demand(50), demand(), None, demand(busy=at_work(0))):
        decision = Assistant(cluster(1), limits).decide(0.0, numbers)
        assert 0 <= decision.replicas <= max(limits.max_replicas, 0)


def test_of_idle_pods_the_unready_and_the_newest_go_first() -> None:
    pods = (
        Pod("old", ready=True, age_seconds=900),
        Pod("new", ready=True, age_seconds=100),
        Pod("sick", ready=False, age_seconds=900),
        Pod("works", ready=True, age_seconds=50),
    )
    decision = quiet(Assistant(Observed(4, pods), replace(LIMITS, min_replicas=2)), demand(busy={"works": 2}))
    assert dict(decision.deletion_costs) == {"old": 0, "new": -1, "sick": -1, "works": 1}


def test_history_stays_small() -> None:
    assistant = Assistant(cluster(0), replace(LIMITS, max_replicas=1000, idle_seconds=3600))
    for now in range(1, 400):
        assistant.decide(float(now), demand(6 * (400 - now)))
        assert len(assistant.history.levels) <= 16
    assert assistant.decide(400.0, demand()).replicas == 399
    assert assistant.decide(4100.0, demand()).replicas == 0
