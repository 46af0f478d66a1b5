"""The gateway as a process: what it refuses to start with, and how it stops."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import Server

from ai_assistant.errors import ConfigurationError
from ai_assistant.gateway.server import check_exposure, close, listen, run
from gateway_app import make_settings, migrated_database

PROGRAM = """
from ai_assistant.gateway.server import run
from ai_assistant.settings import GatewaySettings
run(GatewaySettings(_env_file=None))
"""


def settings(**options: Any) -> Any:
    return make_settings("postgresql://127.0.0.1:1/none", "redis://127.0.0.1:1/0", **options)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example"])
def test_without_keys_it_serves_this_machine_only(host: str) -> None:
    with pytest.raises(ConfigurationError, match="AI_ASSISTANT_API_KEYS"):
        run(settings(host=host))
    check_exposure(settings(host=host, api_keys="secret"))
    check_exposure(settings(host=host, service_keys="secret"))


def test_the_internal_port_has_its_own_token() -> None:
    check_exposure(settings(host="127.0.0.1", internal_host="0.0.0.0"))


def test_a_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"Port {port} on 127.0.0.1 is taken.*AI_ASSISTANT_PORT"):
            run(settings(port=port))
        with pytest.raises(ConfigurationError, match=f"Port {port} .* is taken.*AI_ASSISTANT_INTERNAL_PORT"):
            run(settings(port=0, internal_port=port))


def test_addresses_that_are_none() -> None:
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(ConfigurationError, match=host):
            listen(host, 0, "AI_ASSISTANT_PORT")
    sockets = listen("localhost", 0, "AI_ASSISTANT_PORT")
    assert len(sockets) == 1
    close(sockets)


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
async def database_url(postgres_url: str) -> str:
    return await migrated_database(postgres_url)


@pytest.fixture
def process(database_url: str, valkey: Server, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    port, internal = free_ports()
    environment = {
        "AI_ASSISTANT_DATABASE_URL": database_url,
        "AI_ASSISTANT_REDIS_URL": valkey.url,
        "AI_ASSISTANT_PORT": str(port),
        "AI_ASSISTANT_INTERNAL_PORT": str(internal),
        "AI_ASSISTANT_ASSISTANT": "assistant",
    }
    started = subprocess.Popen([sys.executable, "-c", PROGRAM], env={**os.environ, **environment}, cwd=tmp_path)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 20
    while True:
        try:
            if httpx.get(f"{url}/api/assistants", trust_env=False).json().get("assistants"):
                break
        except httpx.TransportError:
            pass
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield started, url, f"http://127.0.0.1:{internal}"
    started.kill()
    started.wait()


async def test_a_stop_ends_streams_and_long_polls_at_once(process: tuple[subprocess.Popen[bytes], str, str]) -> None:
    started, url, internal = process
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        assert "ai_assistant_queue_depth" in (await client.get(f"{internal}/metrics")).text
        task = (await client.post("/api/chat", json={"message": "hello"})).json()
        polling = asyncio.create_task(client.get(f"/api/status/{task['task_id']}", params={"wait": "30"}))
        async with client.stream("GET", f"/api/chat/{task['task_id']}/stream") as response:
            lines = response.aiter_lines()
            while not (await anext(lines)).startswith("event: queue"):
                pass
            begun = time.monotonic()
            started.send_signal(signal.SIGTERM)
            async for _ in lines:  # ends cleanly, without a broken connection
                pass
            assert time.monotonic() - begun < 1
        assert (await polling).status_code == 200
        assert await asyncio.to_thread(started.wait, 5) == 0
        assert time.monotonic() - begun < 3


async def test_a_stop_while_a_request_hangs(process: tuple[subprocess.Popen[bytes], str, str]) -> None:
    started, url, _ = process
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        await asyncio.sleep(0.1)
        begun = time.monotonic()
        started.send_signal(signal.SIGINT)
        await asyncio.to_thread(started.wait, 5)
        assert time.monotonic() - begun < 3.5


async def test_a_body_that_is_too_large_is_not_read(process: tuple[subprocess.Popen[bytes], str, str]) -> None:
    async def endless() -> Any:
        for _ in range(200):
            yield b" " * 100_000

    async with httpx.AsyncClient(base_url=process[1], trust_env=False) as client:
        try:
            headers = {"content-type": "application/json"}
            response = await client.post("/api/chat", content=endless(), headers=headers)
        except httpx.TransportError:
            return  # the server hung up while we were still sending
        assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")
