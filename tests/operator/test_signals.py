"""The connection to the gateway, over real sockets and whatever happens to it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import pytest

from ai_assistant_operator import signals as module
from ai_assistant_operator.scaling import STALE_SECONDS
from ai_assistant_operator.signals import Problem, Signals
from queue_gateway import TOKEN, QueueGateway, queue, running_gateway


class Listener:
    """An operator's end; times are shorter than in life."""

    def __init__(self, url: str, token: str | None = TOKEN) -> None:
        self.changed: list[str] = []
        self.problems: list[Problem | None] = []
        self.signals = Signals(url, token, self.changed.append, self.problems.append)

    async def until(self, condition: Callable[[], object], seconds: float = 8.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)

    def queued(self, name: str) -> int | None:
        demand = self.signals.demand(name)
        return None if demand is None else demand.queued


@contextlib.asynccontextmanager
async def listening(gateway: QueueGateway, token: str | None = TOKEN) -> AsyncIterator[Listener]:
    listener = Listener(gateway.url, token)
    running = asyncio.create_task(listener.signals.run())
    try:
        yield listener
    finally:
        assert not running.done(), running
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.fixture
async def gateway() -> AsyncIterator[QueueGateway]:
    async with running_gateway() as found:
        found.queues = {"helper": queue("helper"), "pirate": queue("pirate", 3, 1, workers={"pirate-1": 1}, oldest_seconds=7.5)}
        yield found


@pytest.fixture
def without_scrapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is learned from the second scrape on while there is a stream."""
    monkeypatch.setattr(module, "CHECK_SECONDS", 1000.0)


async def test_everything_is_known_at_once(gateway: QueueGateway) -> None:
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.is_live)
        demand = listener.signals.demand("pirate")
        assert demand is not None
        assert (demand.queued, demand.redis_depth, demand.running, demand.busy) == (3, 3, 1, {"pirate-1": 1})
        assert 7.5 <= demand.oldest_seconds < 12
        assert 0 <= listener.signals.now() - demand.at < 5
        assert listener.signals.demand("nobody") is None
        assert listener.signals.assistants == {"helper", "pirate"}
        assert set(listener.changed) == {"helper", "pirate"}
        assert listener.signals.problem is None


@pytest.mark.usefixtures("without_scrapes")
async def test_events_come_at_once(gateway: QueueGateway) -> None:
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.is_live and gateway.scrapes)
        listener.changed.clear()
        gateway.tell(queue("helper", 5))
        await listener.until(lambda: listener.queued("helper") == 5, 2)
        gateway.tell(queue("helper", 5, oldest_seconds=9.0))  # nothing but the age
        gateway.tell(queue("new", 1))
        await listener.until(lambda: listener.queued("new") == 1)
        gateway.remove("helper")
        await listener.until(lambda: listener.signals.demand("helper") is None)
        assert listener.changed == ["helper", "new", "helper"]


@pytest.mark.usefixtures("without_scrapes")
async def test_heartbeats_keep_numbers_fresh_until_they_say_otherwise(gateway: QueueGateway) -> None:
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.is_live)
        first = listener.signals.demand("pirate")
        await listener.until(lambda: listener.signals.demand("pirate").at > first.at)
        assert listener.signals.demand("pirate").oldest_seconds > first.oldest_seconds
        gateway.page, gateway.is_fresh = b"# nothing\n", False
        await listener.until(lambda: not listener.signals.is_live)
        demand = listener.signals.demand("pirate")
        assert (demand.queued, demand.at) == (3, float("-inf")), "known still, but nothing to go by"
        gateway.is_fresh = True
        await listener.until(lambda: listener.signals.is_live)
        assert listener.signals.now() - listener.signals.demand("pirate").at < STALE_SECONDS


async def test_a_scrape_corrects_what_events_have_left_out(gateway: QueueGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.3)
    monkeypatch.setattr(module, "TRUST_SECONDS", 0.5)
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.is_live)
        gateway.queues["helper"] = queue("helper", 9)
        del gateway.queues["pirate"]
        await listener.until(lambda: listener.queued("helper") == 9 and listener.signals.demand("pirate") is None)
        assert listener.signals.corrections == 2
        assert listener.signals.is_live


async def test_an_old_scrape_does_not_overrule_an_event(gateway: QueueGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.1)
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.is_live)
        gateway.send("queue", queue("helper", 4))  # the page does not have it yet
        await listener.until(lambda: listener.queued("helper") == 4)
        scrapes = gateway.scrapes
        await listener.until(lambda: gateway.scrapes > scrapes + 3)
        assert listener.queued("helper") == 4


async def test_without_the_stream_it_polls(gateway: QueueGateway) -> None:
    gateway.status["/internal/queues"] = 503
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.queued("helper") == 0)
        for number in (1, 2):
            gateway.queues["helper"] = queue("helper", number)
            begun = listener.signals.now()
            await listener.until(lambda number=number: listener.queued("helper") == number, 3)
            assert listener.signals.now() - begun < 2.0
        assert not listener.signals.is_live
        assert listener.signals.problem is None, "it works, only slower"
        gateway.status["/internal/queues"] = 200
        await listener.until(lambda: listener.signals.is_live, 10)


def test_a_quiet_gateway_is_no_problem_and_a_dead_one_is_told_within_ten_seconds() -> None:
    heartbeat = module.CHECK_SECONDS  # both come as often
    assert heartbeat + 1 < module.PROBLEM_SECONDS
    assert module.PROBLEM_SECONDS + module.POLL_SECONDS < 10
    assert module.PROBLEM_SECONDS < module.SILENCE_SECONDS <= STALE_SECONDS


async def test_a_gateway_that_restarts(gateway: QueueGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBLEM_SECONDS", 0.5)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.2)
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.is_live)
        await gateway.stop()
        await listener.until(lambda: listener.signals.problem is not None)
        assert listener.signals.problem.code == "unavailable"
        assert "cannot be reached" in listener.signals.problem.message
        known = listener.signals.demand("pirate")
        assert (known.queued, known.busy) == (3, {"pirate-1": 1}), "an outage removes nothing"
        gateway.queues["helper"] = queue("helper", 2)
        listener.changed.clear()
        await gateway.start()
        await listener.until(lambda: listener.signals.is_live and listener.queued("helper") == 2, 10)
        assert listener.problems[-1] is None
        assert set(listener.changed) == {"helper", "pirate"}, "all are to be looked at again"
        assert listener.signals.reconnects >= 1


async def test_a_half_open_connection_is_noticed(gateway: QueueGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.6)
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.is_live)
        gateway.is_silent = True
        await listener.until(lambda: gateway.opened >= 2)
        gateway.queues["helper"] = queue("helper", 6)
        await listener.until(lambda: listener.queued("helper") == 6, 4)
        assert not listener.signals.is_live
        gateway.is_silent = False
        await listener.until(lambda: listener.signals.is_live, 15)


async def test_bytes_that_are_no_events_keep_no_connection(gateway: QueueGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.6)
    gateway.heartbeat_seconds = 1000
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.is_live)
        opened, begun = gateway.opened, listener.signals.now()
        while gateway.opened == opened:
            assert listener.signals.now() - begun < 8
            gateway.send_raw(b": ping\n\n")
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "data",
    [
        b"event: queue\ndata: {nonsense\n\n",
        b'event: queue\ndata: {"assistant": "helper"}\n\n',
        b'event: snapshot\ndata: {"assistants": 5}\n\n',
        f"event: queue\ndata: {json.dumps(queue('helper', -1))}\n\n".encode(),
        b"event: queue\ndata: " + b"[" * 100_000 + b"\n\n",
        b"\xff\xfe\x00event: queue\ndata: \xff\n\nevent: queue\ndata: \xff\n\n",
    ],
)
async def test_garbage_costs_a_connection_and_no_more(gateway: QueueGateway, data: bytes) -> None:
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.is_live)
        opened = gateway.opened
        gateway.send_raw(data)
        await listener.until(lambda: gateway.opened > opened and listener.signals.is_live)
        assert listener.queued("pirate") == 3


async def test_events_that_are_not_known_are_no_error(gateway: QueueGateway) -> None:
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.is_live)
        gateway.send("weather", ["rain"])
        gateway.send("removed", 5)
        gateway.tell(queue("helper", 8, colour="blue"))
        await listener.until(lambda: listener.queued("helper") == 8)
        assert gateway.opened == 1


async def test_a_wrong_token_is_told_at_once(gateway: QueueGateway) -> None:
    async with listening(gateway, "wrong") as listener:
        await listener.until(lambda: listener.signals.problem is not None, 3)
        problem = listener.signals.problem
        assert problem.code == "refused"
        assert "AI_ASSISTANT_SERVICE_TOKEN" in problem.message
        await listener.until(lambda: listener.queued("pirate") == 3)  # metrics need no token
        await asyncio.sleep(1.2)
        assert listener.problems == [problem], "told once, as long as it lasts"


async def test_a_refusal_ends(gateway: QueueGateway) -> None:
    gateway.status["/internal/queues"] = 401
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.problem is not None, 3)
        gateway.status["/internal/queues"] = 200
        await listener.until(lambda: listener.signals.is_live and listener.signals.problem is None, 10)


@pytest.mark.parametrize(
    ("page", "code", "words"),
    [
        (b"# TYPE other gauge\nother 1\n", "unreadable", "its database does not answer"),
        (b"<html>", "unreadable", "this is no gateway"),
        (b'# TYPE ai_assistant_tasks gauge\nai_assistant_tasks{assistant="a",state="queued"} many\n', "unreadable", "many"),
    ],
)
async def test_a_page_without_numbers(
    gateway: QueueGateway, monkeypatch: pytest.MonkeyPatch, page: bytes, code: str, words: str
) -> None:
    monkeypatch.setattr(module, "PROBLEM_SECONDS", 0.3)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.2)
    gateway.status["/internal/queues"] = 200
    gateway.is_silent, gateway.page = True, page
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.problem is not None)
        assert (listener.signals.problem.code, words in listener.signals.problem.message) == (code, True)
        assert listener.signals.assistants == frozenset()
        gateway.page = None
        await listener.until(lambda: listener.signals.problem is None)


async def test_another_server_is_named(gateway: QueueGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBLEM_SECONDS", 0.3)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.2)
    gateway.status.update({"/internal/queues": 404, "/metrics": 404})
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.problem is not None)
        assert "HTTP 404" in listener.signals.problem.message


async def test_a_slow_server(gateway: QueueGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrapes that never end do not disturb events, and do not pile up."""
    monkeypatch.setattr(module, "SCRAPE_SECONDS", 0.3)
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.1)
    gateway.scrape_seconds = 1.0
    async with listening(gateway) as listener:
        await listener.until(lambda: gateway.scrapes >= 3)
        gateway.tell(queue("helper", 4))
        await listener.until(lambda: listener.queued("helper") == 4)
        assert listener.signals.problem is None


async def test_a_listener_that_fails_ends_nothing(gateway: QueueGateway) -> None:
    def fail(name: str) -> None:
        raise RuntimeError(name)

    signals = Signals(gateway.url, TOKEN, fail)
    running = asyncio.create_task(signals.run())
    async with asyncio.timeout(5):
        while not signals.is_live:
            await asyncio.sleep(0.01)
        gateway.tell(queue("helper", 4))
        while signals.demand("helper").queued != 4:
            await asyncio.sleep(0.01)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_thousand_assistants(gateway: QueueGateway) -> None:
    gateway.queues = {f"a{number}": queue(f"a{number}", number % 3) for number in range(1000)}
    async with listening(gateway) as listener:
        await listener.until(lambda: listener.signals.is_live)
        assert len(listener.signals.assistants) == 1000
        assert json.dumps(sorted(set(listener.changed))) == json.dumps(sorted(gateway.queues))
