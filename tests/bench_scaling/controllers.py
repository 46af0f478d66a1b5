"""Our decision, and the formulas that others publish, in our own words.

HPA, KEDA: kubernetes.io and keda.sh documentation. Knative KPA: its config-autoscaler. KubeAI: its autoscaler's configuration.
All aim at the same load per replica, but KEDA's list trigger sees only the queue and has its own default of 5.
"""

import math
from collections import deque
from collections.abc import Mapping

from ai_assistant_operator.demand import Demand
from ai_assistant_operator.scaling import decide
from ai_assistant_operator.scaling_facts import Decision, History, Limits, Observed, Pod
from bench_scaling.cluster import (
    IDLE_SECONDS,
    LOAD_PER_REPLICA,
    MAX_REPLICAS,
    MAX_WAIT_SECONDS,
    SLOTS,
    TARGET_DEPTH,
    Controller,
    Numbers,
)

NO_COSTS: Mapping[str, int] = {}


class Ours:
    """Decides when the numbers change, and when the last decision asked for it: as in the operator."""

    LIMITS = Limits(0, MAX_REPLICAS, TARGET_DEPTH, MAX_WAIT_SECONDS, IDLE_SECONDS, SLOTS)

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.history = History()
        self.decision = Decision(0, "", "")
        self.decisions = 0
        self._seen: object = None
        self._wakes = 0.0

    def desired(self, numbers: Numbers) -> tuple[int, Mapping[str, int]]:
        busy = {pod.name: len(pod.rows) for pod in numbers.pods if pod.rows}
        pods = tuple(Pod(pod.name, pod.ready_at <= numbers.now, numbers.now - pod.born, pod.terminating) for pod in numbers.pods)
        seen = (numbers.waiting, busy, [(pod.name, pod.ready, pod.terminating) for pod in pods], numbers.desired)
        if seen != self._seen or numbers.now >= self._wakes:
            demand = Demand(numbers.waiting, numbers.waiting, numbers.running, numbers.oldest_seconds, busy, numbers.now)
            observed = Observed(numbers.desired, pods)
            self.decision, self.history = decide(numbers.now, demand, observed, self.limits, self.history)
            self._seen, self.decisions = seen, self.decisions + 1
            pause = self.decision.wake_after
            self._wakes = math.inf if pause is None else numbers.now + pause
        return self.decision.replicas, dict(self.decision.deletion_costs)


class HorizontalPodAutoscaler:
    """Every 15 s; tolerance 0.1; up by at most 100 % or 4 pods, down to the highest of the last 300 s. At least one replica."""

    def __init__(self, target: float = LOAD_PER_REPLICA, sees_running: bool = True) -> None:
        self._target, self._sees_running = target, sees_running
        self._next = 0.0
        self._recommended: deque[tuple[float, int]] = deque()

    def desired(self, numbers: Numbers) -> tuple[int, Mapping[str, int]]:
        current = max(numbers.desired, 1)
        if numbers.now < self._next:
            return current, NO_COSTS
        self._next = numbers.now + 15
        load = numbers.waiting + (numbers.running if self._sees_running else 0)
        wanted = math.ceil(load / self._target)
        if abs(load / (self._target * current) - 1) <= 0.1:
            wanted = current
        wanted = min(max(wanted, 1), MAX_REPLICAS)
        self._recommended.append((numbers.now, wanted))
        while self._recommended[0][0] <= numbers.now - 300:
            self._recommended.popleft()
        if wanted < current:
            wanted = min(max(number for _, number in self._recommended), current)
        return min(wanted, max(2 * current, current + 4)), NO_COSTS


class Keda:
    """Polls the queue's length every 30 s: 0 → 1 when there is anything, the rest is the HPA's; to 0 after 300 s without."""

    def __init__(self) -> None:
        self._hpa = HorizontalPodAutoscaler(target=5, sees_running=False)
        self._next = 0.0
        self._active_at = -math.inf

    def desired(self, numbers: Numbers) -> tuple[int, Mapping[str, int]]:
        current = numbers.desired
        if current:
            current, _ = self._hpa.desired(numbers)
        if numbers.now >= self._next:
            self._next = numbers.now + 30
            if numbers.waiting:
                self._active_at = numbers.now
                current = max(current, 1)
            elif numbers.now - self._active_at >= 300:
                current = 0
        return current, NO_COSTS


class Knative:
    """Every 2 s over 60 s, or 6 s in a panic (twice the load it can take); 70 % of the target; never down in a panic."""

    def __init__(self) -> None:
        self._loads: deque[tuple[float, int]] = deque()
        self._next = 0.0
        self._panic_until = -math.inf
        self._most = 0
        self._quiet_since = 0.0

    def desired(self, numbers: Numbers) -> tuple[int, Mapping[str, int]]:
        load = numbers.waiting + numbers.running
        self._loads.append((numbers.now, load))
        while self._loads[0][0] <= numbers.now - 60:
            self._loads.popleft()
        if load:
            self._quiet_since = numbers.now
        if numbers.now < self._next:
            return numbers.desired, NO_COSTS
        self._next = numbers.now + 2
        stable, panic = self._wanted(60, numbers.now), self._wanted(6, numbers.now)
        ready = max(numbers.ready, 1)
        if panic / ready >= 2:
            self._panic_until = numbers.now + 60
        stable = max(stable, ready // 2) if numbers.ready else stable
        if numbers.now < self._panic_until:
            wanted = self._most = max(self._most, stable, panic)
        else:
            wanted, self._most = stable, 0
        if load:
            wanted = max(wanted, 1)
        elif numbers.now - self._quiet_since >= 90:
            wanted = 0
        elif numbers.desired:
            wanted = max(wanted, 1)
        return min(wanted, 1000 * ready, MAX_REPLICAS), NO_COSTS

    def _wanted(self, seconds: float, now: float) -> int:
        loads = [load for at, load in self._loads if at > now - seconds]
        return math.ceil(sum(loads) / len(loads) / (LOAD_PER_REPLICA * 0.7) - 1e-9)


class KubeAI:
    """The mean of 60 samples, one every 10 s; down when three samples in a row ask for it; 0 → 1 with the request."""

    def __init__(self) -> None:
        self._samples = deque([0] * 60, maxlen=60)
        self._next = 0.0
        self._lower = 0

    def desired(self, numbers: Numbers) -> tuple[int, Mapping[str, int]]:
        load = numbers.waiting + numbers.running
        current = max(numbers.desired, 1 if load else 0)
        if numbers.now < self._next:
            return current, NO_COSTS
        self._next = numbers.now + 10
        self._samples.append(load)
        wanted = min(math.ceil(sum(self._samples) / 60 / LOAD_PER_REPLICA), MAX_REPLICAS)
        self._lower = self._lower + 1 if wanted < current else 0
        if wanted < current and self._lower < 3:
            return current, NO_COSTS
        return wanted, NO_COSTS


CONTROLLERS: dict[str, type[Controller]] = {
    "ai-assistant": Ours,
    "HPA": HorizontalPodAutoscaler,
    "KEDA": Keda,
    "Knative KPA": Knative,
    "KubeAI": KubeAI,
}
