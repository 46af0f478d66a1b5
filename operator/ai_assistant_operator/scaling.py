"""How many replicas an assistant should have, and which pods should go first. Pure: no clock, no I/O, no memory of its own.

Up at once and straight to what is needed; down only after a quiet time, never by a pod that is at work, and never on a word that
is missing or old. What is needed: all that waits or runs, over what one replica takes, which is the rows that it serves at once
and `target_queue_depth` more that may wait for it. That number is the same before and after the replicas have come, so nothing
is asked for twice while they start.
"""

import math

from ai_assistant_operator.demand import Demand
from ai_assistant_operator.scaling_facts import (
    BUSY_COST,
    IDLE_COST,
    KEPT_COST,
    START_SECONDS,
    Decision,
    History,
    Level,
    Limits,
    Observed,
)

STALE_SECONDS = 12.0
"""Older numbers are not believed: the gateway says every five seconds that they still hold."""
STEP_SECONDS = 15.0
"""Least time between two replicas that are added because a task waits too long."""
RECHECK_SECONDS = 0.1
"""Nobody is asked to decide again sooner."""
MAX_LEVELS = 16


def decide(now: float, demand: Demand | None, replicas: Observed, limits: Limits, history: History) -> tuple[Decision, History]:
    """The decision, and what the next one has to know. Asked again with that and nothing else changed, it says the same.

    `now` is of the clock of `demand.at`, in seconds.
    """
    high = max(limits.max_replicas, 0)
    low = min(max(limits.min_replicas, 0), high)
    current = max(replicas.desired if history.replicas is None else history.replicas, 0)
    if limits.paused:
        current = wanted = max(replicas.desired, 0)
        cause, reason = "paused", f"paused: {replica_count(wanted)} kept"
    elif limits.replicas is not None:
        wanted = max(limits.replicas, 0)
        cause, reason = "manual", f"spec.replicas is {wanted}"
    elif demand is None or now - demand.at > STALE_SECONDS:
        wanted = min(max(current, low), high)
        what = "nothing is known of the queue" if demand is None else "the numbers of the queue are old"
        cause, reason = "no_signal", f"{what}: {replica_count(wanted)} kept"
    else:
        return decide_by_demand(now, demand, replicas, limits, history, current, low, high)
    history = History(wanted, levels_with(history, now, max(wanted, current), current, limits.idle_seconds))
    return Decision(wanted, cause, reason, deletion_costs(wanted, replicas, demand)), history


def decide_by_demand(
    now: float, demand: Demand, replicas: Observed, limits: Limits, history: History, current: int, low: int, high: int
) -> tuple[Decision, History]:
    base = math.ceil((demand.backlog + staying(demand, replicas)) / capacity(demand, limits))
    late = is_late(now, demand, limits)
    needed = max(base, current) if late else base
    if late and base <= current < high and may_step(now, demand, replicas, history, current):
        needed = current + 1
    is_sure = demand.redis_depth is not None
    levels = levels_with(history, now, needed if is_sure else max(needed, current), current, limits.idle_seconds)

    wanted = min(max(needed, low), high)
    down_cause = hindrance = ""
    if wanted < min(current, high):
        wanted, down_cause, hindrance = downwards(demand, replicas, limits, levels, min(current, high), low)
    cause, reason = standing(wanted, demand, replicas, limits, base, late, low, high)
    history = History(wanted, levels, now if wanted > current else history.raised_at)
    decision = Decision(
        wanted,
        down_cause or cause,
        hindrance or reason,
        deletion_costs(wanted, replicas, demand),
        wake_after(now, demand, replicas, limits, history, low, high),
    )
    return decision, history


def capacity(demand: Demand, limits: Limits) -> int:
    """Tasks that one replica takes: those at work, also when they are more than the template says, and those that may wait."""
    return max(limits.slots, 1, *demand.busy.values()) + max(limits.target_queue_depth, 0)


def staying(demand: Demand, replicas: Observed) -> int:
    """Tasks at work but for those of pods on their way out, which finish them or put them back into the queue."""
    return max(demand.running - sum(demand.busy.get(pod.name, 0) for pod in replicas.pods if pod.terminating), 0)


def is_late(now: float, demand: Demand, limits: Limits) -> bool:
    """The oldest task waits longer than it may."""
    return limits.max_wait_seconds is not None and demand.queued > 0 and age_of_oldest(now, demand) > limits.max_wait_seconds


def age_of_oldest(now: float, demand: Demand) -> float:
    return demand.oldest_seconds + max(now - demand.at, 0.0)


def may_step(now: float, demand: Demand, replicas: Observed, history: History, current: int) -> bool:
    """One replica more would help, and none is on its way. One that never gets ready is not waited for without end."""
    is_coming = current > len(replicas.live) or bool(replicas.starting)
    return not is_coming and not has_free_replica(demand, replicas) and now - history.raised_at >= STEP_SECONDS


def has_free_replica(demand: Demand, replicas: Observed) -> bool:
    """What waits then waits for something else, such as the answer before it in its conversation."""
    is_known = demand.running <= sum(demand.busy.values())
    return is_known and any(pod.ready and pod.name not in demand.busy for pod in replicas.live)


def levels_with(history: History, now: float, needed: int, current: int, idle_seconds: float) -> tuple[Level, ...]:
    """The needs of the last `idle_seconds`, this one included. What was there at the very beginning counts as needed then."""
    levels = list(history.levels) or [Level(max(current, needed), now)]
    levels[-1] = Level(levels[-1].needed, max(now, levels[-1].until))  # it was so until now
    levels = [level for level in levels if level.until > now - idle_seconds]
    while levels and levels[-1].needed <= needed:
        levels.pop()
    levels.append(Level(needed, now))
    while len(levels) > MAX_LEVELS:
        levels[:2] = [Level(levels[0].needed, levels[1].until)]
    return tuple(levels)


def standing(
    wanted: int, demand: Demand, replicas: Observed, limits: Limits, base: int, late: bool, low: int, high: int
) -> tuple[str, str]:
    """(cause, reason) for so many: the same words when it is decided, and later while it holds."""
    ready = sum(pod.ready for pod in replicas.live)
    if base > high:
        return "limit", backlog_sentence(demand, ready, base, high)
    if base == wanted > ready and demand.backlog:
        return "backlog", backlog_sentence(demand, ready, base, high)
    if late and has_free_replica(demand, replicas):
        return "wait", late_sentence(limits, "not for want of replicas, one of them is free")
    if late and wanted == high == ready:
        return "limit", late_sentence(limits, f"{replica_count(high)} at most by maxReplicas")
    if late:
        return "wait", late_sentence(limits, f"{replica_count(wanted)} wanted")
    if wanted == low > base:
        return "minimum", f"{replica_count(wanted)} at least by minReplicas"
    return "steady", f"{replica_count(wanted)} will do" if wanted else "nothing to do"


def downwards(
    demand: Demand, replicas: Observed, limits: Limits, levels: tuple[Level, ...], current: int, low: int
) -> tuple[int, str, str]:
    """(replicas, cause, what stands in the way of fewer)"""
    kept = f"{replica_count(current)} kept"
    if demand.redis_depth is None:
        return current, "no_signal", f"Redis does not tell how much waits: {kept}"
    if demand.backlog:
        return current, "backlog", f"tasks still wait: {kept}"
    wanted = max(low, *(level.needed for level in levels))
    if wanted >= current:
        return current, "idle", f"{kept} until fewer have sufficed for {limits.idle_seconds:g} s"
    busy = busy_replicas(demand, replicas)
    if busy is None:
        return current, "busy", f"it cannot be told which pods are at work, or a pod at work would go first: {kept}"
    if busy > wanted:
        return min(busy, current), "busy", f"{replica_count(min(busy, current))} kept: at work"
    return wanted, "idle", ""


def busy_replicas(demand: Demand, replicas: Observed) -> int | None:
    """Replicas that must stay; None: no choice among them is safe."""
    leaving = {pod.name for pod in replicas.pods if pod.terminating}
    unready = {pod.name for pod in replicas.live if not pod.ready}
    busy = demand.busy.keys() - leaving
    # a ReplicaSet takes pods that are not ready first, whatever their cost; a Deployment that rolls takes from old and new
    if demand.running > sum(demand.busy.values()) or busy & unready or (busy and replicas.rolling):
        return None
    return len(busy)


def deletion_costs(wanted: int, replicas: Observed, demand: Demand | None) -> tuple[tuple[str, int], ...]:
    """Costs by which a ReplicaSet takes idle pods first, and of those the ones that are not ready, then the newest."""
    surplus = len(replicas.live) - wanted
    if demand is None or surplus <= 0 or wanted >= replicas.desired:
        return ()
    idle = sorted((pod for pod in replicas.live if pod.name not in demand.busy), key=lambda pod: (pod.ready, pod.age_seconds))
    going = {pod.name for pod in idle[:surplus]}
    return tuple(
        (pod.name, BUSY_COST if pod.name in demand.busy else IDLE_COST if pod.name in going else KEPT_COST)
        for pod in sorted(replicas.live, key=lambda pod: pod.name)
    )


def wake_after(
    now: float, demand: Demand, replicas: Observed, limits: Limits, history: History, low: int, high: int
) -> float | None:
    """When time alone may change the decision."""
    moments: list[float] = []
    current = history.replicas or 0
    if len(history.levels) > 1 and current > low and not demand.backlog:
        moments.append(history.levels[0].until + limits.idle_seconds)
    if limits.max_wait_seconds is not None and demand.queued and current < high:
        moments.append(now + limits.max_wait_seconds - age_of_oldest(now, demand))
        if is_late(now, demand, limits):
            starting = [now + START_SECONDS - pod.age_seconds for pod in replicas.starting]
            step = max([history.raised_at + STEP_SECONDS, *starting])
            moments = [step if step > now else now + STEP_SECONDS]
    return max(min(moments) - now, RECHECK_SECONDS) if moments else None


def backlog_sentence(demand: Demand, ready: int, base: int, high: int) -> str:
    number, do = (demand.backlog, "wait") if demand.backlog else (demand.running, "run")
    tasks = f"1 task {do}s" if number == 1 else f"{number} tasks {do}"
    return f"{tasks} {'for' if demand.backlog else 'on'} {replica_count(ready)}: {base} wanted" + (
        f", limit {high}" if base > high else ""
    )


def late_sentence(limits: Limits, rest: str) -> str:
    return f"a task waits longer than {limits.max_wait_seconds:g} s: {rest}"


def replica_count(number: int) -> str:
    return "1 replica" if number == 1 else f"{number} replicas"
