"""What a list of arrival times says about a server. Pure functions; seconds in, tokens per second and milliseconds out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Values = dict[str, float]


@dataclass
class Timing:
    """One request: when it was handed over, when each piece of its answer arrived, and how many tokens these pieces were."""

    submitted: float
    arrivals: list[float] = field(default_factory=list)
    num_tokens: int = 0

    def arrive(self, at: float, tokens: int = 1) -> None:
        self.arrivals.append(at)
        self.num_tokens += tokens


def percentile(values: Iterable[float], percent: float) -> float:
    """By linear interpolation between the two nearest values; raises ValueError without values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("There are no values to take a percentile of.")
    position = (len(ordered) - 1) * percent / 100
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median(values: Iterable[float]) -> float:
    return percentile(values, 50)


def throughput(timings: Sequence[Timing]) -> float:
    """Output tokens per second from the first request to the last token, reading of prompts included."""
    seconds = max(timing.arrivals[-1] for timing in timings) - min(timing.submitted for timing in timings)
    return sum(timing.num_tokens for timing in timings) / seconds


def intervals(timings: Iterable[Timing]) -> list[float]:
    """Seconds between one piece of an answer and the next, over all requests."""
    return [later - earlier for timing in timings for earlier, later in pairwise(timing.arrivals)]


def summary(timings: Sequence[Timing]) -> Values:
    """What one run of several requests is remembered by."""
    waits = [timing.arrivals[0] - timing.submitted for timing in timings]
    between = intervals(timings)
    values: Values = {
        "requests": len(timings),
        "output_tokens": sum(timing.num_tokens for timing in timings),
        "tokens_per_second": throughput(timings),
        "ttft_p50_ms": percentile(waits, 50) * 1e3,
        "ttft_p95_ms": percentile(waits, 95) * 1e3,
    }
    if between:
        values |= {"itl_p50_ms": percentile(between, 50) * 1e3, "itl_p99_ms": percentile(between, 99) * 1e3}
    return values


def single(timings: Iterable[Timing]) -> Values:
    """One request at a time: the median wait for the first token and the median speed after it."""
    finished = list(timings)
    speeds = [(timing.num_tokens - 1) / (timing.arrivals[-1] - timing.arrivals[0]) for timing in finished]
    waits = [timing.arrivals[0] - timing.submitted for timing in finished]
    return {"decode_tokens_per_second": median(speeds), "ttft_ms": median(waits) * 1e3}
