"""The connection to the gateway that keeps every assistant's demand fresh.

Changes come at once over one stream of events; a scrape of the metrics page every five seconds checks them, and every second
takes their place while there is no stream. What is known never gets lost by a failure, it gets old: `Demand.at` says since when.
aiohttp and not httpx, because kopf and kubernetes have loaded it already (httpx would take 7 MB more).
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from ai_assistant_operator.demand import Demand, MetricsPage, Queue, UnreadableError, json_of, queue_of, snapshot_of
from ai_assistant_operator.event_stream import EventParser

logger = logging.getLogger(__name__)

SILENCE_SECONDS = 12.0
"""A stream without an event for so long is dead: heartbeats come every five seconds."""
CHECK_SECONDS = 5.0
"""Between two scrapes while events come."""
POLL_SECONDS = 1.0
"""Between two scrapes without events."""
HURRY_SECONDS = 0.2
"""Least time between two scrapes."""
SCRAPE_SECONDS = 5.0
"""Longest wait for a metrics page."""
BACKOFF_SECONDS = (0.2, 5.0)
"""First and longest pause before the stream is opened again."""
PROBLEM_SECONDS = 7.0
"""Without numbers for so long, people are told; more than between two heartbeats."""
TRUST_SECONDS = 2.0
"""A scrape does not overrule an event that came so shortly before: it may rest on an earlier reading."""
MAX_PAGE_BYTES = 64_000_000
GONE = float("-inf")
STREAM, METRICS = "/internal/queues", "/metrics"


class RefusedError(Exception):
    """The gateway does not take the operator's token."""


class UnavailableError(Exception):
    """The gateway does not answer as it should."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why numbers do not come, or not as they should."""

    code: str
    """refused, unavailable or unreadable."""
    message: str
    """A sentence for people."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an assistant."""

    queue: Queue
    at: float
    """When it was told."""
    told_at: float
    """When an event last told it."""


class Signals:
    """One per operator. `on_change(name)` is called in the event loop when an assistant's numbers have changed.

    `on_state(problem)` is called when something is wrong with the connection, and with None when it is right again; each
    time `on_change` follows for every assistant that is known.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        on_change: Callable[[str], object],
        on_state: Callable[[Problem | None], object] = lambda problem: None,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._on_change, self._on_state = on_change, on_state
        self._known: dict[str, Known] = {}
        self._page = MetricsPage()
        self._fresh_at = GONE
        """When all that is known was last true."""
        self._good_at = GONE
        """The same for `problem`, which leaves some time."""
        self._is_live = False
        """This stream has told everything, and that it is true."""
        self._has_snapshot = False
        self._hurry = asyncio.Event()
        self._error: Problem | None = None
        self._refusals: dict[str, Problem] = {}
        """By path. Metrics may still come while the stream is refused; that is told all the same."""
        self.problem: Problem | None = None
        self.reconnects = 0
        """Streams that have ended."""
        self.corrections = 0
        """Assistants of which a scrape knew better than the events."""

    @staticmethod
    def now() -> float:
        """The clock of `Demand.at`, for decisions."""
        return asyncio.get_running_loop().time()

    @property
    def is_live(self) -> bool:
        """Changes come as events."""
        return self._is_live

    @property
    def assistants(self) -> frozenset[str]:
        """Those that the gateway knows."""
        return frozenset(self._known)

    def demand(self, name: str) -> Demand | None:
        """The latest numbers; None if the gateway has never told any, or has no such assistant any more."""
        known = self._known.get(name)
        if known is None:
            return None
        queue = known.queue
        aged = max(self._fresh_at - known.at, 0.0) if queue.queued else 0.0
        return Demand(queue.queued, queue.redis_depth, queue.running, queue.oldest_seconds + aged, queue.workers, self._fresh_at)

    async def run(self) -> None:
        """Until it is cancelled."""
        self._good_at = self.now()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SCRAPE_SECONDS)
        # two connections: the stream, and one for all scrapes
        async with (
            aiohttp.ClientSession(headers=self._headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=2)) as session,
            asyncio.TaskGroup() as loops,
        ):
            loops.create_task(self._follow(session))
            loops.create_task(self._check(session))
            loops.create_task(self._watch())

    async def _follow(self, session: aiohttp.ClientSession) -> None:
        """Hold a stream open, for ever."""
        attempt = 0
        while True:
            with self._noted(STREAM):
                await self._stream(session)
            attempt = 0 if self._has_snapshot else attempt + 1
            was_live, self._is_live, self._has_snapshot = self._is_live, False, False
            self.reconnects += 1
            if was_live:
                self._hurry.set()
            first, longest = BACKOFF_SECONDS
            pause = min(first * 2 ** min(attempt, 10), longest)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret hangs on it

    async def _stream(self, session: aiohttp.ClientSession) -> None:
        async with (
            asyncio.timeout(SILENCE_SECONDS) as deadline,
            self._answer(session, STREAM, "text/event-stream") as response,
        ):
            parser = EventParser()
            async for chunk in response.content.iter_any():
                for name, data in parser.push(chunk):
                    deadline.reschedule(self.now() + SILENCE_SECONDS)
                    self._take(name, json_of(data))
        raise UnavailableError("the gateway has ended the stream of queues")

    def _take(self, event: str, data: Any) -> None:
        """Learn from one event; those of a newer gateway that we do not know are no error."""
        now = self.now()
        if event == "snapshot":
            queues = snapshot_of(data)
            self._is_live = self._has_snapshot = True
            self._fresh_at = now
            self._replace(queues, now, told_at=now)
            self._now_fresh(now)
        elif event == "heartbeat":
            is_fresh = isinstance(data, dict) and data.get("fresh") is True
            self._is_live = self._has_snapshot and is_fresh
            if self._is_live:
                self._now_fresh(now)
            else:
                self._fresh_at = GONE
                self._error = Problem("unavailable", "the gateway's database does not answer")
                self._hurry.set()
        elif self._has_snapshot and event == "queue":
            name, queue = queue_of(data)
            self._fresh_at = now
            self._learn(name, queue, now, told_at=now)
            self._now_fresh(now)
        elif self._has_snapshot and event == "removed":
            removed = str(data.get("assistant")) if isinstance(data, dict) else ""
            if self._known.pop(removed, None) is not None:
                self._call(self._on_change, removed)

    async def _check(self, session: aiohttp.ClientSession) -> None:
        """Scrape, for ever."""
        while True:
            begun = self.now()
            self._hurry.clear()
            with self._noted(METRICS):
                async with asyncio.timeout(SCRAPE_SECONDS):
                    page = await self._scraped(session)
                queues = self._page.read(page)
                self._fresh_at = begun
                self._replace(queues, begun, told_at=GONE)
                self._now_fresh(begun)
            pause = CHECK_SECONDS if self._is_live or METRICS in self._refusals else POLL_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(begun + pause - self.now(), 0.0)):
                    await self._hurry.wait()
            await asyncio.sleep(max(begun + HURRY_SECONDS - self.now(), 0.0))

    async def _scraped(self, session: aiohttp.ClientSession) -> bytes:
        async with self._answer(session, METRICS, "text/plain") as response:
            parts, size = [], 0
            async for chunk in response.content.iter_any():
                parts.append(chunk)
                size += len(chunk)
                if size > MAX_PAGE_BYTES:
                    raise UnreadableError(f"the metrics page is longer than {MAX_PAGE_BYTES // 1_000_000} MB")
            return b"".join(parts)

    async def _watch(self) -> None:
        while True:
            self._review()
            await asyncio.sleep(POLL_SECONDS)

    @contextlib.asynccontextmanager
    async def _answer(self, session: aiohttp.ClientSession, path: str, accept: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """Raises RefusedError, UnavailableError, and what aiohttp raises."""
        async with session.get(self._url + path, headers={"Accept": accept}, allow_redirects=False) as response:
            if response.status in (401, 403):
                raise RefusedError(
                    f"the gateway refuses the operator's token (HTTP {response.status}): "
                    "AI_ASSISTANT_SERVICE_TOKEN must be the same in both"
                )
            if response.status != 200:
                raise UnavailableError(f"the gateway answers HTTP {response.status} to {path}")
            if response.content_type != accept:
                raise UnavailableError(
                    f"{path} answers with {response.content_type}: is {self._url} the internal port of a gateway?"
                )
            self._refusals.pop(path, None)
            yield response

    @contextlib.contextmanager
    def _noted(self, path: str) -> Iterator[None]:
        """Note what goes wrong, so that the loop goes on."""
        try:
            yield
        except RefusedError as error:
            self._error = self._refusals[path] = Problem("refused", str(error))
        except UnavailableError as error:
            self._error = Problem("unavailable", str(error))
        except UnreadableError as error:
            self._error = Problem("unreadable", str(error))
        except TimeoutError:
            self._error = Problem("unavailable", f"the gateway at {self._url} does not answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._error = Problem(
                "unavailable", f"the gateway at {self._url} cannot be reached ({error or type(error).__name__})"
            )
        else:
            return
        logger.debug("%s: %s", path, self._error.message)
        self._review()

    def _now_fresh(self, now: float) -> None:
        self._fresh_at = self._good_at = now
        self._error = None
        self._review()

    def _review(self) -> None:
        """Tell what is wrong with the connection, when that has changed."""
        is_good = self.now() - self._good_at < PROBLEM_SECONDS
        problem = next(iter(self._refusals.values()), None)
        if problem is None and not is_good:
            problem = self._error or self.problem or Problem("unavailable", "the gateway does not answer")
        if problem == self.problem:
            return
        before, self.problem = self.problem, problem
        if problem is not None:
            logger.warning("the queues cannot be watched as they should: %s", problem.message)
        else:
            logger.info("the queues' numbers come again")
        self._call(self._on_state, problem)
        if before is None or problem is None:  # not when only the sentence has changed
            for name in list(self._known):
                self._call(self._on_change, name)

    def _replace(self, queues: Mapping[str, Queue], at: float, told_at: float) -> None:
        """All that there is. Events are not overruled by a scrape that may be older."""
        is_scrape = told_at == GONE
        for name, queue in queues.items():
            known = self._known.get(name)
            if is_scrape and known is not None:
                if known.told_at > at - TRUST_SECONDS:
                    continue
                self.corrections += self._is_live and known.queue != queue
            self._learn(name, queue, at, known.told_at if is_scrape and known is not None else told_at)
        for name in [name for name in self._known if name not in queues]:
            if not is_scrape or self._known[name].told_at <= at - TRUST_SECONDS:
                self.corrections += is_scrape and self._is_live
                del self._known[name]
                self._call(self._on_change, name)

    def _learn(self, name: str, queue: Queue, at: float, told_at: float) -> None:
        known = self._known.get(name)
        self._known[name] = Known(queue, at, told_at)
        if known is None or known.queue != queue:
            self._call(self._on_change, name)

    @staticmethod
    def _call(listener: Callable[[Any], object], value: Any) -> None:
        """A listener that fails must not end the connection."""
        try:
            listener(value)
        except Exception:
            logger.exception("a listener to the queues' numbers has failed")
