"""What a decision on replicas is made of and what it says: the nouns of scaling.py. Pure."""

import math
from dataclasses import dataclass

START_SECONDS = 300.0
"""A pod that is not ready by then is not waited for any longer."""

IDLE_COST = -1
KEPT_COST = 0
BUSY_COST = 1
"""Values of the annotation by which a ReplicaSet chooses among its ready pods: the lowest goes first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the Assistant's spec says of scaling."""

    min_replicas: int = 0
    max_replicas: int = 1
    target_queue_depth: int = 5
    """Tasks that may wait per replica."""
    max_wait_seconds: float | None = None
    """A task that waits longer asks for one more replica per interval. None: no such limit."""
    idle_seconds: float = 300.0
    """How long fewer replicas must have sufficed before there are fewer."""
    slots: int = 16
    """Tasks that a replica works on at once, as its pod template says."""
    replicas: int | None = None
    """`spec.replicas`: obeyed as it is."""
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    """One worker pod."""

    name: str
    ready: bool
    age_seconds: float = 0.0
    terminating: bool = False
    """On its way out: no replica any more, but it may still be at work."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the cluster has now."""

    desired: int
    """The Deployment's spec.replicas; 0 if there is none."""
    pods: tuple[Pod, ...] = ()
    rolling: bool = False
    """Pods of an older template are still being replaced: a Deployment then takes from either kind."""

    @property
    def live(self) -> tuple[Pod, ...]:
        return tuple(pod for pod in self.pods if not pod.terminating)

    @property
    def starting(self) -> tuple[Pod, ...]:
        """Pods that are not ready yet and may be hoped for."""
        return tuple(pod for pod in self.live if not pod.ready and pod.age_seconds < START_SECONDS)


@dataclass(frozen=True, slots=True)
class Level:
    """So many replicas were needed until then."""

    needed: int
    until: float


@dataclass(frozen=True, slots=True)
class History:
    """What a decision must know of the ones before. A fresh one keeps what is there for the idle time."""

    replicas: int | None = None
    """What was decided last; the cluster may not show it yet."""
    levels: tuple[Level, ...] = ()
    """The highest needs of the idle time, falling; the last one is the latest."""
    raised_at: float = -math.inf
    """When there were last to be more."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many replicas from now on."""

    replicas: int
    cause: str
    """A stable word for metrics: manual, paused, no_signal, backlog, wait, limit, minimum, idle, busy or steady."""
    reason: str
    """A sentence for people."""
    deletion_costs: tuple[tuple[str, int], ...] = ()
    """(pod, cost) of all pods, to be written before there are fewer; empty when nothing is to go, or who works is not known."""
    wake_after: float | None = None
    """Decide again after so many seconds, even if nothing changes."""

    @property
    def idle_pods_to_mark(self) -> tuple[str, ...]:
        """The pods that are meant to go."""
        return tuple(name for name, cost in self.deletion_costs if cost == IDLE_COST)
