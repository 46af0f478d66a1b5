"""A cluster in ticks: tasks arrive, pods take a while to start, each works on some tasks at once, first come first served.

Pods are removed as a ReplicaSet does it: those that are not ready, then by deletion cost, then the newest. A pod that is removed
at work may finish what ends within its grace; the rest begins anew elsewhere.
"""

import itertools
import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

TICK = 0.5
SLOTS = 4
TARGET_DEPTH = 2
LOAD_PER_REPLICA = SLOTS + TARGET_DEPTH
"""What every controller is told to aim at: that many tasks per replica, waiting or at work."""
MAX_REPLICAS = 20
START_SECONDS = (8.0, 16.0)
GRACE_SECONDS = 30.0
IDLE_SECONDS = 60.0
MAX_WAIT_SECONDS = 30.0


@dataclass
class Task:
    arrives: float
    seconds: float
    """Of work."""
    began: float | None = None


@dataclass
class SimulatedPod:
    name: str
    born: float
    ready_at: float
    rows: list[tuple[float, Task]] = field(default_factory=list)
    """(end, task)"""
    terminating: bool = False


@dataclass(frozen=True)
class Numbers:
    """What a controller may know."""

    now: float
    desired: int
    waiting: int
    oldest_seconds: float
    pods: tuple[SimulatedPod, ...]

    @property
    def running(self) -> int:
        return sum(len(pod.rows) for pod in self.pods)

    @property
    def ready(self) -> int:
        return sum(pod.ready_at <= self.now for pod in self.pods if not pod.terminating)


class Controller(Protocol):
    def desired(self, numbers: Numbers) -> tuple[int, Mapping[str, int]]:
        """Replicas from now on, and deletion costs by pod; called once per tick."""


@dataclass
class Run:
    """What came out."""

    desired: list[int]
    pod_seconds: float
    waits: list[float]
    interrupted: int
    unfinished: int

    @property
    def turns(self) -> int:
        """How often the number of replicas changed its direction."""
        steps = [b - a for a, b in itertools.pairwise(self.desired) if a != b]
        return sum((a > 0) != (b > 0) for a, b in itertools.pairwise(steps))

    def wait(self, share: float) -> float:
        """Percentile by nearest rank."""
        ordered = sorted(self.waits)
        return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else 0.0


def simulate(tasks: list[Task], seconds: float, controller: Controller, seed: str = "", never_ready: int = 0) -> Run:
    """Run a load through a controller. `never_ready`: so many of the first pods never start."""
    chance = random.Random(f"pods {seed}")  # no secret
    todo = deque(Task(task.arrives, task.seconds) for task in sorted(tasks, key=lambda task: task.arrives))
    queue: deque[Task] = deque()
    pods: list[SimulatedPod] = []
    run = Run([], 0.0, [], 0, 0)
    costs: Mapping[str, int] = {}
    desired = made = 0
    for tick in range(int(seconds / TICK)):
        now = tick * TICK
        while todo and todo[0].arrives <= now:
            queue.append(todo.popleft())
        for pod in pods:
            pod.rows = [row for row in pod.rows if row[0] > now]
            if pod.terminating or pod.ready_at > now:
                continue
            while queue and len(pod.rows) < SLOTS:
                task = queue.popleft()
                if task.began is None:
                    task.began = now
                    run.waits.append(now - task.arrives)
                pod.rows.append((now + task.seconds, task))
        pods = [pod for pod in pods if not pod.terminating or pod.rows]
        oldest = max((now - task.arrives for task in queue), default=0.0)
        desired, costs = controller.desired(Numbers(now, desired, len(queue), oldest, tuple(pods)))
        live = [pod for pod in pods if not pod.terminating]
        for _ in range(desired - len(live)):
            made += 1
            starts = math.inf if made <= never_ready else now + chance.uniform(*START_SECONDS)
            pods.append(SimulatedPod(f"pod-{made}", now, starts))
        order = sorted(live, key=lambda pod: (pod.ready_at <= now, costs.get(pod.name, 0), -pod.born, pod.name))
        for pod in order[: max(len(live) - desired, 0)]:
            pod.terminating = True
            lost = [row for row in pod.rows if row[0] > now + GRACE_SECONDS]
            pod.rows = [row for row in pod.rows if row[0] <= now + GRACE_SECONDS]
            run.interrupted += len(lost)
            queue.extendleft(task for _, task in reversed(lost))
        run.desired.append(desired)
        run.pod_seconds += len(pods) * TICK
    run.unfinished = len(todo) + len(queue) + sum(len(pod.rows) for pod in pods)
    run.waits += [seconds - task.arrives for task in queue if task.began is None]
    return run
