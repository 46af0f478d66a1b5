import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from ai_assistant_operator.gateway import Gateway, GatewayError, ServiceToken, fingerprint


class Told:
    """A gateway that notes what it is told and answers as it is set to."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str | None, object]] = []
        self.status = 200
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, str(request.rel_url), request.headers.get("Authorization"), body))
        return web.json_response({"error": {"code": "x", "message": "No."}}, status=self.status)


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    told = Told()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", told.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield told
    await runner.cleanup()


@pytest.fixture
async def gateway(told: Told, tmp_path: Path) -> AsyncIterator[Gateway]:
    (tmp_path / "token").write_text("first\n")
    gateway = Gateway(told.url, ServiceToken(tmp_path / "token"), timeout=2)
    yield gateway
    await gateway.close()


async def test_an_assistant_is_told_and_forgotten(gateway: Gateway, told: Told) -> None:
    await gateway.put("helper", {"uid": "1", "generation": 2})
    await gateway.delete("helper", "1")
    assert told.requests == [
        ("PUT", "/internal/assistants/helper", "Bearer first", {"uid": "1", "generation": 2}),
        ("DELETE", "/internal/assistants/helper?uid=1", "Bearer first", None),
    ]


async def test_a_token_that_is_rotated_is_used(gateway: Gateway, told: Told, tmp_path: Path) -> None:
    await gateway.delete("helper")
    (tmp_path / "token").write_text("second")
    os.utime(tmp_path / "token", ns=(1, 1))
    await gateway.delete("helper")
    assert [token for _, _, token, _ in told.requests] == ["Bearer first", "Bearer second"]


async def test_a_token_that_is_missing_says_so_and_nothing_is_sent(gateway: Gateway, told: Told, tmp_path: Path) -> None:
    (tmp_path / "token").unlink()
    with pytest.raises(GatewayError, match="token cannot be read"):
        await gateway.delete("helper")
    assert told.requests == []


@pytest.mark.parametrize(("status", "is_final"), [(409, True), (422, True), (401, False), (500, False), (503, False)])
async def test_a_refusal_says_whether_to_try_again(gateway: Gateway, told: Told, status: int, is_final: bool) -> None:
    told.status = status
    with pytest.raises(GatewayError, match=rf"HTTP {status} to PUT .*No\.") as refused:
        await gateway.put("helper", {})
    assert refused.value.is_final is is_final


async def test_forgetting_what_is_not_known_is_no_error(gateway: Gateway, told: Told) -> None:
    told.status = 404
    await gateway.delete("helper")
    with pytest.raises(GatewayError):
        await gateway.put("helper", {})


async def test_a_gateway_that_is_away_is_told_apart_from_a_refusal() -> None:
    gateway = Gateway("http://127.0.0.1:1", ServiceToken(None), timeout=2)
    with pytest.raises(GatewayError, match="cannot be reached") as failed:
        await gateway.put("helper", {})
    assert not failed.value.is_final
    await gateway.close()


def test_the_order_of_keys_is_no_change() -> None:
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
