"""Every number that this operator shows, in a registry of its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX = "ai_assistant_operator_"


class Metrics:
    """Labels come from fixed lists and from the names of Assistants; those of a deleted one are dropped."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.is_leader = Gauge(PREFIX + "leader", "1: this replica leads", registry=registry)
        self.replicas_desired = Gauge(PREFIX + "replicas_desired", "Worker replicas asked for", ["assistant"], registry=registry)
        self.replicas_ready = Gauge(PREFIX + "replicas_ready", "Worker replicas ready", ["assistant"], registry=registry)
        self.queue_depth = Gauge(PREFIX + "queue_depth", "Tasks that wait, as decided on", ["assistant"], registry=registry)
        self.decisions = Counter(
            PREFIX + "scaling_decisions_total", "Changes of the replicas by cause", ["assistant", "cause"], registry=registry
        )
        self.wake_seconds = Histogram(
            PREFIX + "scale_up_seconds",
            "From the news of a queue to the replicas written",
            registry=registry,
            buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.15, 0.3, 0.5, 1, 2, 5),
        )
        self.reconcile_seconds = Histogram(
            PREFIX + "reconcile_seconds",
            "One look at one Assistant and what it led to",
            registry=registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
        )
        self.reconcile_errors = Counter(
            PREFIX + "reconcile_errors_total", "Failed turns by kind of error", ["kind"], registry=registry
        )
        self.writes = Counter(PREFIX + "writes_total", "Writes by kind of object and verb", ["kind", "verb"], registry=registry)
        self.waiting = Gauge(PREFIX + "reconciles_waiting", "Assistants that wait for a turn", registry=registry)
        self.signal_age = Gauge(PREFIX + "signal_age_seconds", "Age of what is known of the queues", registry=registry)
        self.provisioning = Gauge(
            PREFIX + "provisioning_ratio", "Part of a model that is provisioned", ["assistant"], registry=registry
        )

    def forget(self, name: str) -> None:
        """Drops what was shown of an Assistant that is gone."""
        for metric in (self.replicas_desired, self.replicas_ready, self.queue_depth, self.provisioning):
            metric.remove_by_labels({"assistant": name})
        self.decisions.remove_by_labels({"assistant": name})
