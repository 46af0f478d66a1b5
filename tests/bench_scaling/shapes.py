"""Loads over time. Seeded: the same on every machine."""

import math
import random
from collections.abc import Callable

from bench_scaling.cluster import LOAD_PER_REPLICA, MAX_REPLICAS, Task

WORK_SECONDS = (5.0, 40.0)

Shape = tuple[float, list[Task]]
"""How long it is watched in seconds, and its tasks."""


def work(chance: random.Random) -> float:
    return round(chance.triangular(*WORK_SECONDS, 12.0), 1)


def arrivals(seed: str, seconds: float, rate: Callable[[float], float]) -> list[Task]:
    """Tasks by chance, `rate(now)` of them per second."""
    chance, now, most = random.Random(seed), 0.0, max(rate(second) for second in range(int(seconds)))
    found = []
    while (now := now + chance.expovariate(most)) < seconds:
        if chance.random() * most < rate(now):
            found.append(Task(round(now, 3), work(chance)))
    return found


def step() -> Shape:
    """100 tasks at once after a minute, to a cluster at zero."""
    chance = random.Random("step")
    return 1200.0, [Task(60.0, work(chance)) for _ in range(100)]


def ramp() -> Shape:
    """From nothing to 4 tasks per second in ten minutes, and back."""
    return 2400.0, arrivals("ramp", 1200, lambda now: 4 * (1 - abs(now - 600) / 600))


def bursts() -> Shape:
    """40 tasks at once every 45 s, twenty times."""
    chance = random.Random("bursts")
    return 1800.0, [Task(30.0 + 45 * burst, work(chance)) for burst in range(20) for _ in range(40)]


def on_off() -> Shape:
    """2 tasks per second for two minutes, then four minutes of nothing, five times."""
    return 2400.0, arrivals("on-off", 1800, lambda now: 2.0 if now % 360 < 120 else 0.0)


def day() -> Shape:
    """A day in an hour: a night without anybody, a noon with 3 tasks per second."""
    return 4200.0, arrivals("day", 3600, lambda now: max(0.0, 3 * math.sin(2 * math.pi * (now / 3600 - 0.25))))


def poison() -> Shape:
    """30 short tasks and one that takes twenty minutes."""
    chance = random.Random("poison")
    return 2400.0, [Task(20.0, 1200.0), *(Task(20.0, work(chance)) for _ in range(30))]


SHAPES: dict[str, Callable[[], Shape]] = {
    "step": step,
    "ramp": ramp,
    "bursts": bursts,
    "on-off": on_off,
    "day": day,
    "poison": poison,
}


def peak(tasks: list[Task]) -> tuple[int, float]:
    """(N, when): the replicas that the load needs at its highest, if nobody had to wait, and the first moment of that."""
    changes = sorted([(task.arrives, 1) for task in tasks] + [(task.arrives + task.seconds, -1) for task in tasks])
    load = most = 0
    for _, change in changes:
        load += change
        most = max(most, load)
    needed, load = min(math.ceil(most / LOAD_PER_REPLICA), MAX_REPLICAS), 0
    for at, change in changes:
        load += change
        if math.ceil(load / LOAD_PER_REPLICA) >= needed:
            return needed, at
    return 0, 0.0
