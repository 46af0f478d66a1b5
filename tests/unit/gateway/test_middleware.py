"""What every request goes through, on an application with a few routes and no database."""

import json
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, Query
from fastapi.responses import StreamingResponse
from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware
from starlette.types import Message, Receive

from ai_assistant.errors import DatabaseUnavailableError, OverloadedError
from ai_assistant.gateway import error_handlers
from ai_assistant.gateway.body import BodyMiddleware
from ai_assistant.gateway.middleware import RequestMiddleware, choose_id
from ai_assistant.gateway.schemas import Finite, Strict
from ai_assistant.metrics import GatewayMetrics

LIMIT = 2000


class Item(Strict):
    name: str
    size: Finite | None = None
    tags: list[str] | str | None = None


def make_app() -> FastAPI:
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    app = FastAPI(
        middleware=[Middleware(RequestMiddleware, metrics=metrics), Middleware(BodyMiddleware, max_bytes=LIMIT)],
    )
    app.state.gateway = SimpleNamespace(metrics=metrics)
    app.state.registry = registry
    error_handlers.install(app)

    @app.post("/items/{number}")
    async def items(number: int, body: Item) -> Item:
        return body

    @app.post("/v1/items")
    async def openai_items(body: Item) -> Item:
        return body

    @app.get("/v1/away")
    @app.get("/away")
    async def away() -> None:
        raise DatabaseUnavailableError

    @app.get("/busy")
    async def busy() -> None:
        raise OverloadedError(retry_after=7)

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("the password is swordfish")

    @app.get("/broken-stream")
    async def broken_stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield "first"
            raise RuntimeError("too late")

        return StreamingResponse(parts(), media_type="text/event-stream")

    @app.get("/list")
    async def listing(limit: Annotated[int, Query(le=10)] = 1) -> int:
        return limit

    return app


@pytest.fixture
def app() -> FastAPI:
    return make_app()


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def sample(app: FastAPI, name: str, **labels: str) -> float | None:
    return app.state.registry.get_sample_value(f"ai_assistant_{name}", labels)


async def post(client: httpx.AsyncClient, content: bytes | str, path: str = "/items/1") -> httpx.Response:
    return await client.post(path, content=content, headers={"content-type": "application/json"})


def error(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"code", "message"}
    assert body["error"]["message"].endswith((".", "`"))
    return response.status_code, body["error"]["code"], body["error"]["message"]


async def test_a_good_body_arrives(client: httpx.AsyncClient) -> None:
    response = await post(client, '{"name": "Ёж 🦔 \\ud83e\\udd94", "size": 1e3}')
    assert response.json() == {"name": "Ёж 🦔 🦔", "size": 1000.0, "tags": None}


BAD_BODIES: list[tuple[bytes | str, int, str, str]] = [
    ("", 422, "invalid_request", "body"),
    ("{", 400, "malformed_body", "line 1"),
    ("\ufeff{}", 400, "malformed_body", "JSON"),
    (b'{"name": "\xff"}', 400, "malformed_body", "UTF-8"),
    ('{"name": "x"}'.encode("utf-16"), 400, "malformed_body", "UTF-8"),
    ('{"name": ' + "9" * 1990 + "}", 422, "invalid_request", "`name`"),
    ("[" * 1500, 400, "malformed_body", "body"),
    ("[" * 900 + "]" * 900, 400, "malformed_body", "deep"),
    ('{"name": "x", "size": NaN}', 422, "invalid_request", "`size` must be a finite number"),
    ('{"name": "x", "size": -Infinity}', 422, "invalid_request", "`size`"),
    ('{"name": "x", "size": 1e999}', 422, "invalid_request", "`size`"),
    ('{"name": "x", "tags": ["a", "b\\u0000"]}', 422, "invalid_request", "`tags.1`"),
    ('{"name": "\\ud800"}', 422, "invalid_request", "`name`"),
    ('{"name": "x", "\\udc00": 1}', 422, "invalid_request", "body"),
    ('"\\u0000"', 422, "invalid_request", "The body"),
    ("[]", 422, "invalid_request", "body"),
    ("null", 422, "invalid_request", "body"),
    ("{}", 422, "invalid_request", "`name` is missing"),
    ('{"name": 5}', 422, "invalid_request", "`name`"),
    ('{"name": "x", "nmae": 1}', 422, "invalid_request", "`nmae` is not a known field"),
    ('{"name": "x", "tags": 3}', 422, "invalid_request", "`tags`"),
]


@pytest.mark.parametrize(("body", "status", "code", "message"), BAD_BODIES)
async def test_bad_bodies(
    client: httpx.AsyncClient, app: FastAPI, body: bytes | str, status: int, code: str, message: str
) -> None:
    got = error(await post(client, body))
    assert got[:2] == (status, code)
    assert message in got[2]
    assert sample(app, "errors_total", code=code) == 1


async def test_input_is_not_repeated(client: httpx.AsyncClient) -> None:
    response = await post(client, '{"name": ["swordfish"], "size": "swordfish"}')
    assert error(response)[0] == 422
    assert "swordfish" not in response.text
    assert "`size`" in response.text


async def test_only_json(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
        assert error(await client.post("/items/1", content='{"name": "x"}', headers=headers))[:2] == (
            415,
            "unsupported_media_type",
        )
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert (await client.post("/items/1", content='{"name": "x"}', headers=headers)).status_code == 200


@pytest.mark.parametrize("size", [LIMIT - 100, LIMIT, LIMIT + 1, 100 * LIMIT])
@pytest.mark.parametrize("chunked", [False, True])
async def test_large_bodies(app: FastAPI, size: int, chunked: bool) -> None:
    body = b'{"name": "' + b"x" * (size - 12) + b'"}'
    read = 0

    async def receive() -> Message:
        nonlocal read
        piece = body[read : read + 100]
        read += len(piece)
        return {"type": "http.request", "body": piece, "more_body": read < len(body)}

    length = [] if chunked else [(b"content-length", str(len(body)).encode())]
    headers = [(b"content-type", b"application/json"), *length, *([(b"transfer-encoding", b"chunked")] if chunked else [])]
    status, headers_sent, answer = await call(app, "POST", "/items/1", headers, receive)
    if size <= LIMIT:
        assert status == 200
    else:
        assert (status, json.loads(answer)["error"]["code"]) == (413, "body_too_large")
        assert headers_sent[b"connection"] == b"close"
        # a client that is still sending gets the answer and not a reset
        assert read == len(body)


@pytest.mark.parametrize("asks_first", [False, True])
async def test_refused_bodies_are_not_read_for_ever(app: FastAPI, monkeypatch: pytest.MonkeyPatch, asks_first: bool) -> None:
    monkeypatch.setattr("ai_assistant.gateway.body.DISCARD_BYTES", 10 * LIMIT)
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 100
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    expect = [(b"expect", b"100-continue")] if asks_first else []
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000000000"), *expect]
    status, _, _ = await call(app, "POST", "/items/1", headers, receive)
    assert status == 413
    assert read <= (0 if asks_first else 10 * LIMIT)


async def call(
    app: FastAPI, method: str, path: str, headers: list[tuple[bytes, bytes]], receive: Receive
) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "http_version": "1.1",
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(item.get("body", b"") for item in sent[1:])


async def test_a_client_that_leaves_while_it_sends(app: FastAPI) -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": "/items/1", "query_string": b"", "headers": [(b"content-length", b"9")]}
    await app(scope, receive, send)


async def test_addresses(client: httpx.AsyncClient) -> None:
    assert error(await client.get("/nowhere"))[:2] == (404, "not_found")
    wrong_method = await client.get("/items/1")
    assert error(wrong_method)[:2] == (405, "method_not_allowed")
    assert wrong_method.headers["allow"] == "POST"
    assert error(await client.get("/list?limit=11"))[1:] == (
        "invalid_request",
        "`limit`: input should be less than or equal to 10.",
    )
    for path in ("/list?limit=%00", "/list%00"):
        assert error(await client.get(path))[:2] == (422, "invalid_request")


async def test_retry_after(client: httpx.AsyncClient) -> None:
    busy, away = await client.get("/busy"), await client.get("/away")
    assert (error(busy)[:2], busy.headers["retry-after"]) == ((429, "overloaded"), "7")
    assert (error(away)[:2], away.headers["retry-after"]) == ((503, "database_unavailable"), "3")


async def test_openai_errors(client: httpx.AsyncClient) -> None:
    for response, status, kind, code, param in (
        (await post(client, '{"name": 5}', "/v1/items"), 400, "invalid_request_error", "invalid_request", "name"),
        (await post(client, "{", "/v1/items"), 400, "invalid_request_error", "malformed_body", None),
        (await client.get("/v1/nowhere"), 404, "invalid_request_error", "not_found", None),
        (await client.get("/v1/away"), 503, "server_error", "database_unavailable", None),
    ):
        assert response.status_code == status
        found = response.json()["error"]
        assert found.keys() == {"message", "type", "param", "code"}
        assert (found["type"], found["code"], found["param"]) == (kind, code, param)


async def test_a_bug(client: httpx.AsyncClient, app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    response = await client.get("/bug", headers={"x-request-id": "trace-7"})
    assert error(response)[:2] == (500, "internal_error")
    assert "trace-7" in response.text
    assert "swordfish" not in response.text
    assert response.headers["x-request-id"] == "trace-7"
    record = next(item for item in caplog.records if item.exc_info)
    assert "/bug" in record.getMessage()
    assert sample(app, "http_requests_total", route="/bug", method="GET", status="500") == 1


async def test_a_stream_that_breaks_is_broken_off(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with pytest.raises(RuntimeError, match="too late"):
            await client.get("/broken-stream")
    assert sample(app, "http_requests_total", route="/broken-stream", method="GET", status="200") == 1
    assert sample(app, "http_request_seconds_count", route="/broken-stream") is None


async def test_numbers_and_log_by_template(client: httpx.AsyncClient, app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ai_assistant.gateway.access")
    for number in (1, 2):
        await post(client, '{"name": "swordfish"}', f"/items/{number}")
    await client.request("BREW", "/items/3")
    await client.get("/secret-path")
    assert sample(app, "http_requests_total", route="/items/{number}", method="POST", status="200") == 2
    assert sample(app, "http_requests_total", route="/items/{number}", method="OTHER", status="405") == 1
    assert sample(app, "http_requests_total", route="unrouted", method="GET", status="404") == 1
    assert sample(app, "http_request_seconds_count", route="/items/{number}") == 3
    lines = [vars(item) for item in caplog.records if item.name == "ai_assistant.gateway.access"]
    assert [(line["method"], line["route"], line["status"]) for line in lines[:2]] == [("POST", "/items/{number}", 200)] * 2
    assert "swordfish" not in str(lines)


def test_request_ids() -> None:
    assert choose_id("01J-abc.def:1") == "01J-abc.def:1"
    for unfit in (None, "", "-x", "a b", "a\nb", "x" * 129, "é"):
        assert len(choose_id(unfit)) == 32
