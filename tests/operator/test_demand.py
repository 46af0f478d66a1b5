"""What is read out of the gateway's events and metrics, and that its names are the platform's."""

import random
import time
from pathlib import Path

import pytest

from ai_assistant_operator.demand import METRICS, Demand, MetricsPage, Queue, UnreadableError, queue_of, snapshot_of
from ai_assistant_operator.event_stream import EventParser
from queue_gateway import metrics_page, queue

ROOT = Path(__file__).resolve().parents[2]

QUEUES = {
    "helper": queue("helper"),
    "pirate": queue("pirate", 3, 2, workers={"pirate-1": 1, "pirate-2": 1}, oldest_seconds=7.25),
    "no-redis": queue("no-redis", 1, redis_depth=None),
}


def test_names_and_labels_are_those_of_the_platform() -> None:
    """docs/reference/metrics.md is written from the platform's code."""
    lines = (ROOT / "docs/reference/metrics.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    told = {row[0].strip("`"): (row[1], tuple(label.strip("` ") for label in row[2].split(","))) for row in rows}
    assert told, "the page has changed its form"
    for name, labels in METRICS.items():
        kind, platforms = told[name]
        assert (kind, set(labels) <= set(platforms)) == ("gauge", True), name


def test_a_page_of_the_client_library() -> None:
    found = MetricsPage().read(metrics_page(QUEUES))
    assert found == {name: queue_of(state)[1] for name, state in QUEUES.items()}
    assert found["pirate"].oldest_seconds == 7.25
    assert found["no-redis"].redis_depth is None


def test_of_several_replicas_the_largest_counts() -> None:
    other = QUEUES | {"pirate": queue("pirate", 5, 1, workers={"pirate-1": 1}), "new": queue("new", 1)}
    found = MetricsPage().read(metrics_page(QUEUES) + metrics_page(other))
    assert found["pirate"] == Queue(5, 2, 5, {"pirate-1": 1, "pirate-2": 1})
    assert found["new"].queued == 1


def test_what_has_changed_is_read_and_what_has_not_is_not() -> None:
    page = MetricsPage()
    chance = random.Random(4)
    for _ in range(50):
        queues = {f"a{n}": queue(f"a{n}", chance.choice([0, 0, 4])) for n in range(chance.randint(1, 9))}
        assert page.read(metrics_page(queues)) == {name: queue_of(state)[1] for name, state in queues.items()}
    large = metrics_page({f"a{n}": queue(f"a{n}") for n in range(1000)})

    def least(reader: MetricsPage | None) -> float:
        took = []
        for _ in range(5):
            begun = time.perf_counter()
            (reader or MetricsPage()).read(large)
            took.append(time.perf_counter() - begun)
        return min(took)

    page.read(large)
    assert least(page) < least(None) / 2


def test_labels_with_anything_in_them() -> None:
    name = 'a"b\\c,d}e=f{ü 1'
    found = MetricsPage().read(metrics_page({name: queue(name, 2)}))
    assert found[name].queued == 2


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"\xff\xff\x00",
        b'# TYPE ai_assistant_tasks_other gauge\nai_assistant_tasks_other{assistant="a",state="queued"} 1\n',
        b'# TYPE ai_assistant_tasks gauge\nai_assistant_tasks{assistant="a",state="queued"} NaN\n',
        b'# TYPE ai_assistant_tasks gauge\nai_assistant_tasks{assistant="a",state="queued"} 1.5\n',
        b'# TYPE ai_assistant_tasks gauge\nai_assistant_tasks{assistant="a"} 1\n',
        b"# TYPE ai_assistant_tasks gauge\nai_assistant_tasks{{{ 1\n",
        b"# TYPE ai_assistant_tasks gauge\n",
    ],
)
def test_pages_that_say_nothing(page: bytes) -> None:
    with pytest.raises(UnreadableError):
        MetricsPage().read(page)


@pytest.mark.parametrize(
    "change",
    [{"queued": True}, {"queued": "x"}, {"workers": []}, {"assistant": 5}, {"running": -1}, {"oldest_seconds": float("nan")}],
)
def test_events_that_say_nothing(change: dict[str, object]) -> None:
    with pytest.raises(UnreadableError):
        queue_of(queue("a") | change)
    with pytest.raises(UnreadableError):
        snapshot_of({"assistants": [queue("a") | change]})


def test_backlog_is_the_larger_one() -> None:
    assert Demand(100, 0, 0, 1.0, {}, 0.0).backlog == 100
    assert Demand(1, 7, 0, 1.0, {}, 0.0).backlog == 7
    assert Demand(4, None, 0, 1.0, {}, 0.0).backlog == 4


def test_a_pod_without_tasks_is_not_busy() -> None:
    assert queue_of(queue("a", workers={"p": 0, "q": 2}))[1].workers == {"q": 2}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_cut_anywhere(size: int, end: str) -> None:
    lines = [
        "retry: 1000",
        "",
        ": ping",
        "",
        "event: queue",
        "data: {\u2028}",
        "data: ü",
        "",
        "data: x",
        "",
        "event: cut",
        "data: y",
    ]
    text = end.join(lines).encode()
    parser, events = EventParser(), []
    for at in range(0, len(text), size):
        events += parser.push(text[at : at + size])
    assert events == [("queue", "{\u2028}\nü"), ("message", "x")]


def test_an_event_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ai_assistant_operator.event_stream.MAX_EVENT_BYTES", 1000)
    parser = EventParser()
    for _ in range(17):
        assert parser.push(b"data: " + b"x" * 50 + b"\n") == []
    with pytest.raises(UnreadableError):
        parser.push(b"data: " + b"x" * 50 + b"\n")
    parser = EventParser()
    for _ in range(100):
        assert parser.push(b"data: " + b"x" * 50 + b"\n\n")
