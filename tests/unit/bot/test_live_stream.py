"""Reading an answer over HTTP as it is written: cut connections, restarts, and what the gateway takes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from ai_assistant.bot import answer_stream
from ai_assistant.bot.answer_stream import AnswerEvent, Ended, Queued, Written, follow_answer
from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from gateway_double import CUT, HANG, GatewayDouble, done, event, token

QUEUE = event("queue", {"position": 2, "eta_seconds": 7.5})


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GatewayDouble]:
    monkeypatch.setattr(answer_stream, "FIRST_PAUSE_SECONDS", 0.01)
    double = GatewayDouble()
    with double.running():
        yield double


async def read(double: GatewayDouble) -> list[AnswerEvent]:
    client = GatewayClient(double.url, "key")
    try:
        async with asyncio.timeout(10), aclosing(follow_answer(client, double.task_id)) as events:
            return [item async for item in events]
    finally:
        await client.close()


def asked_from(double: GatewayDouble) -> list[str]:
    return [headers["last-event-id"] for _, _, headers, _ in double.of("GET")]


def texts(events: list[AnswerEvent]) -> list[str]:
    return [item.text for item in events if isinstance(item, Written)]


async def test_from_the_queue_to_the_end(gateway: GatewayDouble) -> None:
    gateway.streams = [[QUEUE, token(0, "Hello, "), token(7, "мир 🌍"), done("Hello, мир 🌍")]]
    events = await read(gateway)
    assert events[0] == Queued(2, 7.5)
    assert texts(events)[-1] == "Hello, мир 🌍"
    assert isinstance(events[-1], Ended)
    assert events[-1].status["text"] == "Hello, мир 🌍"
    ((_, path, headers, _),) = gateway.of("GET")
    assert path == f"/api/chat/{gateway.task_id}/stream"
    assert headers["authorization"] == "Bearer key"


async def test_goes_on_where_the_connection_broke(gateway: GatewayDouble) -> None:
    gateway.streams = [
        [token(0, "🌍 one"), b'id: 99\nevent: token\ndata: {"off', CUT],
        503,
        429,
        [],
        [token(5, " two"), done("🌍 one two")],
    ]
    assert texts(await read(gateway))[-1] == "🌍 one two"
    assert asked_from(gateway) == ["0", "5", "5", "5", "5"]


async def test_what_is_taken_back(gateway: GatewayDouble) -> None:
    gateway.streams = [[token(0, "one two"), CUT], [event("reset", {"offset": 4}, 4), token(4, "three"), done("one three")]]
    assert texts(await read(gateway))[-1] == "one three"


async def test_a_reset_before_the_connection_breaks(gateway: GatewayDouble) -> None:
    gateway.streams = [[token(0, "one two"), event("reset", {"offset": 0}, 0), CUT], [token(0, "new"), done("new")]]
    assert texts(await read(gateway))[-1] == "new"
    assert asked_from(gateway) == ["0", "0"]


async def test_an_overlap_is_not_told_twice_and_a_gap_is_asked_for(gateway: GatewayDouble) -> None:
    gateway.streams = [
        [token(0, "one "), token(2, "e two"), CUT],
        [token(30, "lost")],
        [b"event: token\ndata: nonsense\n\n"],
        [token(0, "one two three"), done("one two three")],
    ]
    events = await read(gateway)
    assert texts(events) in (["one two", "one two three"], ["one ", "one two", "one two three"])
    assert asked_from(gateway) == ["0", "7", "0", "0"]


async def test_no_such_task(gateway: GatewayDouble) -> None:
    gateway.streams = [404]
    with pytest.raises(GatewayRefusalError):
        await read(gateway)


async def test_leaving_ends_the_request(gateway: GatewayDouble) -> None:
    gateway.streams = [[token(0, "one"), HANG]]
    client = GatewayClient(gateway.url, None)
    async with aclosing(follow_answer(client, gateway.task_id)) as events:
        async for item in events:
            assert item == Written("one")
            break
    await asyncio.wait_for(client.close(), 2)


async def test_a_gateway_that_is_not_there_yet() -> None:
    client = GatewayClient("http://127.0.0.1:9", None)
    reading = asyncio.create_task(anext(follow_answer(client, "x")))
    done, _ = await asyncio.wait({reading}, timeout=0.4)
    assert not done
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await client.close()
