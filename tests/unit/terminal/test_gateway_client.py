"""The client against a gateway that cuts, restarts, refuses and changes its mind."""

from collections.abc import Iterator

import pytest

from ai_assistant.sse import parse_events
from ai_assistant.terminal.gateway_client import (
    Away,
    Ended,
    GatewayClient,
    GatewayRefusedError,
    GatewayUnreachableError,
    Reset,
    Text,
    Waiting,
)
from gateway_double import CUT, GatewayDouble, done, event, token


@pytest.fixture
def double() -> Iterator[GatewayDouble]:
    with GatewayDouble().running() as double:
        yield double


@pytest.fixture
def client(double: GatewayDouble) -> Iterator[GatewayClient]:
    with GatewayClient(double.url, "secret", patience=3, sleep=lambda _: None) as client:
        yield client


def test_answer_comes_in_order_with_the_queue_before_it(double: GatewayDouble, client: GatewayClient) -> None:
    double.streams = [[event("queue", {"position": 2, "eta_seconds": 3.5}), token(0, "Па"), token(2, "риж"), done("Париж")]]
    events = list(client.stream("t"))
    assert events[:3] == [Waiting(2, 3.5), Text("Па"), Text("риж")]
    assert events[3] == Ended({"status": "succeeded", "text": "Париж"})


def test_cut_stream_is_resumed_where_it_broke(double: GatewayDouble, client: GatewayClient) -> None:
    whole = token(3, "lo")
    double.streams = [[token(0, "Hel"), whole[:20], CUT], 503, [], [whole, done("Hello")]]
    events = list(client.stream("t"))
    assert [item.text for item in events if isinstance(item, Text)] == ["Hel", "lo"]
    assert events.count(Away()) == 3
    resumed = [headers.get("last-event-id") for _, _, headers, _ in double.of("GET")]
    assert resumed == [None, "3", "3", "3"]


def test_reset_moves_the_place_to_resume_from(double: GatewayDouble, client: GatewayClient) -> None:
    double.streams = [[token(0, "Hello"), event("reset", {"offset": 1}), CUT], [token(1, "i"), done("Hi")]]
    events = list(client.stream("t"))
    assert Reset(1) in events
    assert double.of("GET")[1][2]["last-event-id"] == "1"


def test_stream_of_a_gateway_that_stays_away_ends_with_a_sentence(double: GatewayDouble, client: GatewayClient) -> None:
    double.streams = [503] * 20
    with pytest.raises(GatewayRefusedError, match="Not now"):
        list(client.stream("t"))


def test_message_is_sent_again_with_the_same_key(double: GatewayDouble, client: GatewayClient) -> None:
    error = {"error": {"code": "database_unavailable", "message": "Try again."}}
    double.posts = [(503, error), (502, {}), double.accepted()]
    assert client.send("Hi", None).task_id == double.task_id
    posts = double.of("POST")
    assert len({headers["idempotency-key"] for _, _, headers, _ in posts}) == 1
    assert [body for _, _, _, body in posts] == [{"message": "Hi"}] * 3
    assert posts[0][2]["authorization"] == "Bearer secret"
    client.send("Hi", None)
    assert double.of("POST")[-1][2]["idempotency-key"] != posts[0][2]["idempotency-key"]


@pytest.mark.parametrize(
    ("status", "sentence"), [(401, "AI_ASSISTANT_GATEWAY_KEY"), (422, "Bad thing"), (429, "Bad thing"), (500, "Bad thing")]
)
def test_refusal_is_told_at_once(double: GatewayDouble, client: GatewayClient, status: int, sentence: str) -> None:
    double.posts = [(status, {"error": {"code": "x", "message": "Bad thing"}})]
    with pytest.raises(GatewayRefusedError, match=sentence):
        client.send("Hi", None)
    assert len(double.of("POST")) == 1


def test_nothing_listens() -> None:
    with (
        GatewayClient("http://127.0.0.1:1") as client,
        pytest.raises(GatewayUnreachableError, match=r"Nothing listens at http://127.0.0.1:1: start it with `make run`"),
    ):
        client.check()


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://[::"])
def test_url_that_is_none(url: str) -> None:
    with pytest.raises(GatewayUnreachableError, match="AI_ASSISTANT_GATEWAY_URL"), GatewayClient(url) as client:
        client.check()


def test_proxy_is_not_asked_for_this_machine(double: GatewayDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with GatewayClient(double.url) as client:
        client.check()


@pytest.mark.parametrize("key", ["ключ", "secret\nvalue"])
def test_a_key_that_cannot_be_sent_is_not_shown(key: str) -> None:
    with pytest.raises(GatewayRefusedError, match="AI_ASSISTANT_GATEWAY_KEY") as caught:
        GatewayClient("http://127.0.0.1:1", key)
    assert key not in caught.value.message


def test_events_survive_any_cut_into_chunks() -> None:
    stream = b": hello\r\n\r\n" + token(0, "a\u2028b\x85c ж😀") + event("done", {"status": "succeeded"})
    whole = list(parse_events([stream]))
    assert [item.name for item in whole] == ["token", "done"]
    assert whole[0].id == "8"
    for size in (1, 2, 7):
        assert list(parse_events(stream[start : start + size] for start in range(0, len(stream), size))) == whole
    assert list(parse_events([stream[:-1]])) == whole[:1]
