"""Pages of metrics joined into one that Prometheus accepts."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ai_assistant.gateway.probe import Probe
from ai_assistant.gateway.queue_metrics import families, fetch, merge


def page(*names: str) -> str:
    registry = CollectorRegistry()
    for name in names:
        Counter(name, "A counter", ["who"], registry=registry).labels(f"of {name} # HELP x").inc()
        Histogram(f"{name}_seconds", "A histogram", registry=registry).observe(1)
    return generate_latest(registry).decode()


def test_families() -> None:
    found = families(page("a"))
    assert {"a_total", "a_seconds"} <= set(found)
    assert "a_seconds_bucket" in found["a_seconds"]
    assert families('x 1\ny{z="1"} 2\n# a remark\n\n') == {"x": "x 1\n", "y": 'y{z="1"} 2\n'}


def test_families_that_are_there_are_dropped() -> None:
    merged = merge(page("a", "b"), [page("b", "c"), page("c", "d"), "e 1"])
    names = [family.name for family in text_string_to_metric_families(merged)]
    assert len(names) == len(set(names))
    assert {"a", "b", "c", "d", "e"} <= set(names)
    assert merged.count("of b") == page("b").count("of b")


def test_nothing_to_merge() -> None:
    own = page("a")
    assert merge(own, []) == own


async def test_a_page_that_does_not_come() -> None:
    assert await fetch("http://127.0.0.1:1/metrics") is None
    assert await fetch("no address") is None


async def test_a_probe_that_hangs_is_not_started_twice() -> None:
    started = 0
    thawed = asyncio.Event()

    async def check() -> int:
        nonlocal started
        started += 1
        await thawed.wait()
        return started

    probe = Probe(check, seconds=0.02)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await probe.result()
    assert started == 1
    thawed.set()
    assert await probe.result() == 1
    assert await probe.result() == 2


async def test_a_probe_tells_its_error_to_all_who_wait() -> None:
    async def check() -> None:
        await asyncio.sleep(0)
        raise OSError("away")

    probe = Probe(check)
    results = await asyncio.gather(probe.result(), probe.result(), return_exceptions=True)
    assert [type(item) for item in results] == [OSError, OSError]
    hanging = Probe(lambda: asyncio.sleep(60), seconds=0.01)
    with pytest.raises(TimeoutError):
        await hanging.result()
    await hanging.close()
