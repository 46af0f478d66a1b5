"""What the gateway tells of the queues, read out of its events and its metrics page. Pure.

Every replica of the gateway tells the same, global numbers: where two tell of one thing, the larger counts, never the sum.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

QUEUE_DEPTH = "ai_assistant_queue_depth"
TASKS = "ai_assistant_tasks"
OLDEST_SECONDS = "ai_assistant_queue_oldest_seconds"
WORKER_TASKS = "ai_assistant_worker_tasks_running"
METRICS: dict[str, tuple[str, ...]] = {
    QUEUE_DEPTH: ("assistant",),
    TASKS: ("assistant", "state"),
    OLDEST_SECONDS: ("assistant",),
    WORKER_TASKS: ("assistant", "worker"),
}
"""All that the operator reads of a metrics page, with the labels that it needs."""

SAMPLE = re.compile(rb"^([a-z_]+)(?:\{(.*)\})? (\S+)(?: -?\d+)?$")
LABEL = re.compile(rb'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
ESCAPED = re.compile(r"\\(.)")

Samples = dict[tuple[str, ...], float]


class UnreadableError(ValueError):
    """The gateway's answer is not what it should be."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one assistant's queue asks for."""

    queued: int
    redis_depth: int | None
    """None: Redis does not tell."""
    running: int
    oldest_seconds: float
    """Age of the oldest queued task."""
    busy: Mapping[str, int]
    """Running tasks by pod; pods without any are not named."""
    at: float
    """When this was last known to be true, in seconds of the clock that decisions use; minus infinity: not any more."""

    @property
    def backlog(self) -> int:
        """Tasks that wait; what Redis has lost still counts."""
        return max(self.queued, self.redis_depth or 0)


@dataclass(frozen=True, slots=True)
class Queue:
    """One assistant's numbers as they came."""

    queued: int
    running: int
    redis_depth: int | None
    workers: Mapping[str, int]
    oldest_seconds: float = field(compare=False, default=0.0)
    """It grows by itself, so that alone is no change."""


def queue_of(data: Any) -> tuple[str, Queue]:
    """(assistant, numbers) out of an event. Raises UnreadableError."""
    try:
        depth = data["redis_depth"]
        workers = {str(pod): count(running) for pod, running in data["workers"].items() if count(running)}
        name, oldest = data["assistant"], number(data["oldest_seconds"])
        name.encode()  # text and nothing else has that
        return name, Queue(
            count(data["queued"]), count(data["running"]), None if depth is None else count(depth), workers, max(oldest, 0.0)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableError(f"an event about a queue cannot be read ({type(error).__name__}: {error})") from error


def snapshot_of(data: Any) -> dict[str, Queue]:
    """All assistants out of the first event of a stream. Raises UnreadableError."""
    try:
        return dict(queue_of(item) for item in data["assistants"])
    except (KeyError, TypeError) as error:
        raise UnreadableError(f"the first event cannot be read ({type(error).__name__}: {error})") from error


def json_of(text: str) -> Any:
    """Raises UnreadableError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"an event is not JSON ({error})") from error


class MetricsPage:
    """Reads one metrics page after the other; a family whose text has not changed since is not read again.

    Pages of several replicas may be put one after the other.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[list[bytes], Samples]] = {}
        self._result: tuple[list[Samples | None], dict[str, Queue]] = ([], {})

    def read(self, page: bytes) -> dict[str, Queue]:
        """Numbers by assistant. Raises UnreadableError when there are none, as when PostgreSQL is away from the gateway."""
        families = [self._samples(page, name) for name in METRICS]
        if len(families) != len(self._result[0]) or any(a is not b for a, b in zip(families, self._result[0], strict=True)):
            self._result = (families, queues_of(*families))
        return self._result[1]

    def _samples(self, page: bytes, name: str) -> Samples | None:
        """The family's samples by the values of its labels, the largest of each; None if the page does not have them."""
        blocks = list(family_blocks(page, name.encode()))
        known = self._known.get(name)
        if known is None or known[0] != blocks:
            known = self._known[name] = (blocks, largest_samples(blocks, name))
        return known[1] or None


def queues_of(
    depths: Samples | None, tasks: Samples | None, oldest: Samples | None, running_by_worker: Samples | None
) -> dict[str, Queue]:
    """Put together what METRICS lists. Raises UnreadableError without tasks."""
    if tasks is None:
        raise UnreadableError(f"the gateway's metrics have no {TASKS}: its database does not answer, or this is no gateway")
    depths, oldest, workers = depths or {}, oldest or {}, dict[str, dict[str, int]]()
    for (name, worker), running in (running_by_worker or {}).items():
        if running:
            workers.setdefault(name, {})[worker] = int(running)
    return {
        name: Queue(
            queued=int(tasks.get((name, "queued"), 0)),
            running=int(tasks.get((name, "running"), 0)),
            redis_depth=int(depths[name,]) if (name,) in depths else None,
            workers=workers.get(name, {}),
            oldest_seconds=max(oldest.get((name,), 0.0), 0.0),
        )
        for name in {name for name, _ in tasks}
    }


def family_blocks(page: bytes, name: bytes) -> Iterator[bytes]:
    """The lines below each header of a metric."""
    header, at = b"# TYPE " + name + b" ", 0
    while (begin := page.find(header, at)) >= 0:
        at = page.find(b"\n#", begin)
        at = len(page) if at < 0 else at
        if begin == 0 or page[begin - 1 : begin] == b"\n":
            _, _, lines = page[begin:at].partition(b"\n")
            yield lines


def largest_samples(blocks: list[bytes], name: str) -> Samples:
    wanted, found = METRICS[name], Samples()
    for line in (line for block in blocks for line in block.splitlines() if line):
        match = SAMPLE.match(line)
        if match is None:
            raise UnreadableError(f"a line of the gateway's metrics cannot be read: {line[:100]!r}")
        if match[1] != name.encode():
            continue
        labels = {key.decode(): unescaped(value) for key, value in LABEL.findall(match[2] or b"")}
        try:
            key = tuple(labels[label] for label in wanted)
            value = number(match[3].decode()) if name == OLDEST_SECONDS else float(count(match[3].decode()))
        except (KeyError, ValueError) as error:
            raise UnreadableError(f"a line of the gateway's metrics cannot be read: {line[:100]!r}") from error
        found[key] = max(found.get(key, value), value)
    return found


def unescaped(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], text) if "\\" in text else text


def number(value: Any) -> float:
    """A finite number. Raises ValueError, TypeError."""
    found = float(value)
    if isinstance(value, bool) or not math.isfinite(found):
        raise ValueError(f"{value!r} is no number")
    return found


def count(value: Any) -> int:
    """A number of tasks. Raises ValueError, TypeError."""
    found = number(value)
    if found < 0 or found != int(found):
        raise ValueError(f"{value!r} is no number of tasks")
    return int(found)
