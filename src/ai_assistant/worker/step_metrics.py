"""The engine's statistics as metrics. The engine counts since it was made; a metric is told what is new."""

from ai_assistant.engine.step_output import StepStats
from ai_assistant.metrics import WorkerMetrics


class StepMetrics:
    """One per engine."""

    def __init__(self, metrics: WorkerMetrics, assistant: str) -> None:
        self._prefill_tokens = metrics.prefill_tokens.labels(assistant)
        self._gauges = {
            "num_running": metrics.slots_in_use.labels(assistant),
            "kv_tokens": metrics.kv_tokens.labels(assistant),
            "kv_bytes": metrics.kv_bytes.labels(assistant),
            "num_parked": metrics.parked_rows.labels(assistant),
            "parked_tokens": metrics.parked_tokens.labels(assistant),
        }
        self._counters = {
            "reused_tokens": metrics.reused_tokens.labels(assistant),
            "num_preempted": metrics.preemptions.labels(assistant),
            "num_evicted": metrics.evictions.labels(assistant),
        }
        self._counted = dict.fromkeys(self._counters, 0)

    def record(self, stats: StepStats) -> None:
        """Take over what a step has said."""
        self._prefill_tokens.inc(stats.num_prefill_tokens)
        for name, gauge in self._gauges.items():
            gauge.set(getattr(stats, name))
        for name, counter in self._counters.items():
            value = getattr(stats, name)
            counter.inc(value - self._counted[name])
            self._counted[name] = value
