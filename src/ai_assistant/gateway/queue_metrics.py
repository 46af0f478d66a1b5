"""The page at /metrics: our own numbers, the queue's as PostgreSQL and Redis tell them now, and pages of other processes."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import httpx
from prometheus_client import CollectorRegistry, generate_latest
from redis.asyncio import Redis

from ai_assistant.contracts import WAITING, DeliveryState, TaskState, queue_name
from ai_assistant.database.session import Database
from ai_assistant.deliveries import listing
from ai_assistant.gateway.probe import Probe
from ai_assistant.metrics import GatewayMetrics
from ai_assistant.tasks import backlog

logger = logging.getLogger(__name__)

INCLUDE_SECONDS = 1.0
CHANNELS = ("telegram",)
"""Those whose zeros are shown."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Backlog:
    """What PostgreSQL says of the queue."""

    totals: list[backlog.QueueTotals]
    workers: list[tuple[str, str, int]]
    deliveries: list[listing.OpenTotal]


class QueueMetrics:
    """Reads the queue's numbers at the moment of a scrape: a number that cannot be read is absent, never stale."""

    def __init__(
        self, database: Database, redis: Redis, registry: CollectorRegistry, metrics: GatewayMetrics, include: Iterable[str]
    ) -> None:
        self._database = database
        self._redis = redis
        self._registry = registry
        self._metrics = metrics
        self._include = list(include)
        self._assistants: list[str] = []
        self._backlog = Probe(self._read_backlog)
        self._depths = Probe(self._read_depths)

    async def page(self) -> bytes:
        """The text that Prometheus reads."""
        await self._refresh()
        own = generate_latest(self._registry).decode()
        others = await asyncio.gather(*(fetch(url) for url in self._include))
        return merge(own, [page for page in others if page is not None]).encode()

    async def close(self) -> None:
        await self._backlog.close()
        await self._depths.close()

    async def _refresh(self) -> None:
        found = await outcome(self._backlog.result())
        if found is not None:
            self._assistants = [item.assistant for item in found.totals]
        depths = await outcome(self._depths.result())
        # from here on without a pause: another scrape never sees half of it
        metrics = self._metrics
        for gauge in (
            metrics.tasks,
            metrics.queue_oldest,
            metrics.worker_tasks_running,
            metrics.queue_depth,
            metrics.deliveries,
            metrics.delivery_oldest,
        ):
            gauge.clear()
        metrics.dependency_up.labels("postgresql").set(found is not None)
        metrics.dependency_up.labels("redis").set(depths is not None)
        for item in found.totals if found else ():
            metrics.tasks.labels(item.assistant, TaskState.QUEUED.value).set(item.queued)
            metrics.tasks.labels(item.assistant, TaskState.RUNNING.value).set(item.running)
            metrics.queue_oldest.labels(item.assistant).set(item.oldest_seconds)
        for assistant, worker, running in found.workers if found else ():
            metrics.worker_tasks_running.labels(assistant, worker).set(running)
        for channel in CHANNELS if found else ():
            for state in (WAITING, *listing.OPEN):
                metrics.deliveries.labels(channel, str(state)).set(0)
            metrics.delivery_oldest.labels(channel).set(0)
        for open_now in found.deliveries if found else ():
            metrics.deliveries.labels(open_now.channel, open_now.state).set(open_now.count)
            if open_now.state == DeliveryState.PENDING:
                metrics.delivery_oldest.labels(open_now.channel).set(open_now.oldest_seconds)
        for assistant, depth in (depths or {}).items():
            metrics.queue_depth.labels(assistant).set(depth)

    async def _read_backlog(self) -> Backlog:
        async with self._database.session() as session:
            return Backlog(
                await backlog.totals(session), await backlog.running_per_worker(session), await listing.open_totals(session)
            )

    async def _read_depths(self) -> dict[str, int]:
        names = list(self._assistants)
        if not names:
            await self._redis.ping()  # type: ignore[misc]
            return {}
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.llen(queue_name(name))
        return dict(zip(names, await pipeline.execute(), strict=True))


async def outcome(awaitable: Awaitable[Result]) -> Result | None:
    """None for whatever went wrong: a metrics page says less then, but it is served."""
    try:
        return await awaitable
    except Exception as error:
        logger.debug("a number for /metrics cannot be read (%s)", type(error).__name__)
        return None


async def fetch(url: str) -> str | None:
    """Another process's page; None if it does not come at once."""
    try:
        async with httpx.AsyncClient(timeout=INCLUDE_SECONDS, trust_env=False) as client, asyncio.timeout(INCLUDE_SECONDS):
            response = await client.get(url, headers={"Accept": "text/plain"})
            return response.text if response.is_success else None
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        logger.debug("%s cannot be read (%s)", url, type(error).__name__)
        return None


def merge(own: str, others: Iterable[str]) -> str:
    """One page out of several; a family that is there already is left out of the later ones (two would be invalid)."""
    parts = [own if own.endswith("\n") else own + "\n"]
    present = set(families(own))
    for page in others:
        found = families(page)
        parts += [text for name, text in found.items() if name not in present]
        present |= set(found)
    return "".join(parts)


def families(page: str) -> dict[str, str]:
    """The metric families of a page in the text format, each with its HELP, TYPE and samples."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in page.splitlines():
        words = line.split(maxsplit=3)
        if line.startswith("#") and len(words) >= 3 and words[1] in ("HELP", "TYPE"):
            name = words[2]
        elif line.startswith("#") or not words:
            continue
        elif not name or not line.startswith(name):  # samples without a header
            name = line.split("{")[0].split()[0]
        found.setdefault(name, []).append(line)
    return {key: "\n".join(lines) + "\n" for key, lines in found.items()}
