"""Every Prometheus metric of the platform: names, labels and buckets in one place.

Names are an interface (docs, dashboards, the operator). Labels come from a fixed list; never a user, chat or request id.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector, ProcessCollector

PREFIX = "ai_assistant_"

LATENCY_BUCKETS = (0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
TOKEN_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)


def process_registry() -> CollectorRegistry:
    """A registry with the figures of the process itself."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class WorkerMetrics:
    """What a worker measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(PREFIX + name, text, ["assistant"], buckets=buckets, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ("assistant",)) -> Counter:
            return Counter(PREFIX + name, text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(PREFIX + name, text, ["assistant"], registry=registry)

        self.time_to_first_token = histogram(
            "time_to_first_token_seconds", "From acceptance of a request to its first token", LATENCY_BUCKETS
        )
        self.inter_token_latency = histogram("inter_token_latency_seconds", "Between two tokens of an answer", TOKEN_BUCKETS)
        self.queue_wait = histogram("queue_wait_seconds", "From acceptance of a request to its first claim", LATENCY_BUCKETS)
        self.prompt_tokens = counter("prompt_tokens_total", "Prompt tokens of finished tasks")
        self.completion_tokens = counter("completion_tokens_total", "Generated tokens of finished tasks")
        self.tasks_finished = counter("tasks_finished_total", "Finished tasks", ("assistant", "state", "finish_reason"))
        self.takeovers = counter("task_takeovers_total", "Claims of tasks whose worker had been lost")
        self.slots_in_use = gauge("engine_slots_in_use", "Sequences that run now")
        self.slots = gauge("engine_slots", "Sequences that can run at once")
        self.kv_tokens = gauge("engine_kv_tokens", "Tokens of context of the sequences that run")
        self.kv_bytes = gauge("engine_kv_bytes", "Reserved for keys and values; memory is taken as tokens are written")
        self.parked_rows = gauge("engine_parked_rows", "Ended sequences whose keys and values are kept for a next turn")
        self.parked_tokens = gauge("engine_parked_tokens", "Tokens of context kept for a next turn")
        self.prefill_tokens = counter("prefill_tokens_total", "Prompt tokens computed")
        self.reused_tokens = counter("prefix_reused_tokens_total", "Prompt tokens found in another row instead of computed")
        self.preemptions = counter("engine_preemptions_total", "Sequences put back into the queue for want of memory")
        self.evictions = counter("engine_evictions_total", "Parked rows given up before their time for a slot or memory")


class GatewayMetrics:
    """What the gateway measures, and the queue numbers that it reads from PostgreSQL and Redis.

    The latter are the same in every replica: aggregate with `max by (assistant)`, never sum.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queue_depth = Gauge(PREFIX + "queue_depth", "Wake tokens in Redis (LLEN)", ["assistant"], registry=registry)
        self.tasks = Gauge(PREFIX + "tasks", "Unfinished tasks in PostgreSQL", ["assistant", "state"], registry=registry)
        self.queue_oldest = Gauge(
            PREFIX + "queue_oldest_seconds", "Age of the oldest queued task", ["assistant"], registry=registry
        )
        self.worker_tasks_running = Gauge(
            PREFIX + "worker_tasks_running", "Running tasks by lease holder", ["assistant", "worker"], registry=registry
        )
        self.requests = Counter(PREFIX + "http_requests_total", "HTTP requests", ["route", "method", "status"], registry=registry)
        self.errors = Counter(PREFIX + "errors_total", "Errors told to clients", ["code"], registry=registry)
        self.request_seconds = Histogram(
            PREFIX + "http_request_seconds",
            "Time to the end of the response, streams excepted",
            ["route"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.streams_open = Gauge(PREFIX + "streams_open", "Open SSE streams", registry=registry)
        self.dependency_up = Gauge(
            PREFIX + "dependency_up", "1 if the dependency answered the last time", ["dependency"], registry=registry
        )
        self.tokens_topped_up = Counter(
            PREFIX + "wake_tokens_topped_up_total", "Wake tokens that had been lost", ["assistant"], registry=registry
        )
        self.deliveries = Gauge(
            PREFIX + "deliveries",
            "Deliveries that are not over (`waiting`: for their answer)",
            ["channel", "state"],
            registry=registry,
        )
        self.delivery_oldest = Gauge(
            PREFIX + "delivery_oldest_seconds",
            "Age of the oldest answer or broadcast that is due",
            ["channel"],
            registry=registry,
        )
        self.delivery_outcomes = Counter(
            PREFIX + "delivery_outcomes_total",
            "Deliveries that ended `delivered` or `dead`, and claims of a part that may have arrived (`uncertain`)",
            ["channel", "outcome"],
            registry=registry,
        )


class BotMetrics:
    """What the Telegram bot measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}telegram_{name}", text, labels, registry=registry)

        self.updates = counter("updates_total", "Updates from Telegram that were handled", "type")
        self.updates_failed = counter("updates_failed_total", "Updates whose handler failed, which are given up", "type")
        self.updates_open = Gauge(f"{PREFIX}telegram_updates_open", "Updates that are being handled", registry=registry)
        self.trouble = Gauge(f"{PREFIX}telegram_trouble", "1 while Telegram cannot be reached or refuses", registry=registry)
        self.reports = counter("delivery_reports_total", "Reports to the delivery ledger", "event")
        self.duplicates_marked = counter("duplicates_marked_total", "Parts sent again with the mark that they may be known")
        self.leases_lost = counter("leases_lost_total", "Deliveries that somebody else had taken over meanwhile")
        self.floods = counter("floods_total", "Requests that Telegram refused with 429", "method")
        self.previews_skipped = counter("previews_skipped_total", "Previews for which there was no room")
