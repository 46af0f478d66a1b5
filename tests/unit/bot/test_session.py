"""Base URLs and proxies as people write them, and what comes back from proxies and portals."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramNetworkError, TelegramServerError
from aiogram.methods import GetMe
from aiohttp_socks import ProxyType

from ai_assistant.bot.session import ApiSession, api_server, proxy_address
from ai_assistant.bot.trouble import sentence_of
from ai_assistant.errors import ConfigurationError

TOKEN = "4242:test-token-of-nobody"
PASSWORD = "p@ss/word#1"
ENCODED = "p%40ss%2Fword%231"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@contextlib.asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(session: ApiSession) -> None:
    async with Bot(TOKEN, session=session) as bot:
        await bot(GetMe(), request_timeout=5)


def test_proxies_as_people_write_them() -> None:
    proxy = proxy_address(f"socks5://anna:{ENCODED}@proxy.example.org:1080")
    assert (proxy.kind, proxy.host, proxy.port, proxy.username, proxy.password) == (
        ProxyType.SOCKS5,
        "proxy.example.org",
        1080,
        "anna",
        PASSWORD,
    )
    assert proxy_address("https://proxy.example.org:443/").is_tls
    assert proxy_address("http://10.0.0.1:3128").username is None
    assert proxy_address("socks5h://[::1]:1080").host == "::1"


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("proxy.example.org:1080", "the scheme is missing"),
        ("ftp://anna:s3cret@proxy.example.org:1080", "cannot be used"),
        ("socks5://anna:s3cret@proxy.example.org", "the port is missing"),
        ("socks5://:1080", "the host is missing"),
        ("socks5://anna:s3cret@proxy.example.org:port", "write @ as %40"),
        ("socks5://anna:s3cret/x@proxy.example.org:1080", "write @ as %40"),
        ("socks5://proxy.example.org:1080/s3cret", "nothing after it"),
    ],
)
def test_a_wrong_proxy_is_refused_without_showing_it(url: str, part: str) -> None:
    with pytest.raises(ConfigurationError, match="AI_ASSISTANT_TELEGRAM_PROXY") as caught:
        proxy_address(url)
    assert part in caught.value.message
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    ["api.telegram.org", "ftp://api.telegram.org", "https://", "https://api.telegram.org/bot1:x", "http://h:x", "http://{h}"],
)
def test_a_wrong_base_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="AI_ASSISTANT_TELEGRAM_API_URL"):
        api_server(url)


def test_a_base_url_with_a_path() -> None:
    assert api_server("http://127.0.0.1:8081/api/").api_url("T", "getMe") == "http://127.0.0.1:8081/api/botT/getMe"


async def test_a_proxy_that_wants_a_password(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    with caplog.at_level(logging.DEBUG):
        async with served(refuse) as port:
            proxy = proxy_address(f"http://anna:{ENCODED}@127.0.0.1:{port}")
            with pytest.raises(TelegramNetworkError) as caught:
                await ask(ApiSession(api_server("http://api.example.org"), proxy))
    assert b"CONNECT api.example.org:80" in asked[0]
    assert b"proxy-authorization: basic" in asked[0].lower()
    assert "the proxy wants another user name or password" in sentence_of(caught.value)
    shown = caplog.text + sentence_of(caught.value)
    assert PASSWORD not in shown
    assert ENCODED not in shown
    assert TOKEN not in shown


async def test_a_socks_proxy_that_refuses() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        writer.write(b"\x05\x00")
        await reader.readexactly(5)
        writer.write(b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00")  # not allowed by ruleset
        writer.close()

    async with served(refuse) as port:
        with pytest.raises(TelegramNetworkError, match="proxy: ") as caught:
            await ask(ApiSession(api_server("http://api.example.org"), proxy_address(f"socks5://127.0.0.1:{port}")))
    assert "see AI_ASSISTANT_TELEGRAM_PROXY" in sentence_of(caught.value)


async def test_a_proxy_that_is_not_there() -> None:
    async with served(lambda _, writer: writer.close()) as port:
        pass
    with pytest.raises(TelegramNetworkError, match="Couldn't connect to proxy"):
        await ask(ApiSession(api_server("http://api.example.org"), proxy_address(f"socks5://127.0.0.1:{port}")))


async def test_a_socks_proxy_brings_the_request_there() -> None:
    asked: list[bytes] = []

    async def bring(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3 + 1)
        writer.write(b"\x05\x02")
        length = (await reader.readexactly(2))[1]
        user = await reader.readexactly(length)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        asked.append(user + b":" + password)
        writer.write(b"\x01\x00")
        head = await reader.readexactly(5)
        asked.append(await reader.readexactly(head[4] + 2))
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        body = b'{"ok": true, "result": {"id": 4242, "is_bot": true, "first_name": "Test"}}'
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async with served(bring) as port:
        proxy = proxy_address(f"socks5://anna:{ENCODED}@127.0.0.1:{port}")
        await ask(ApiSession(api_server("http://api.example.org"), proxy))
    assert asked[0] == f"anna:{PASSWORD}".encode()
    assert asked[1] == b"api.example.org\x00\x50"  # the proxy finds the name
    assert asked[2].startswith(f"POST /bot{TOKEN}/getMe".encode())


@pytest.mark.parametrize(("status", "kind"), [(502, TelegramServerError), (200, TelegramNetworkError)])
async def test_a_page_of_somebody_in_between(status: int, kind: type[Exception]) -> None:
    async def portal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>".encode())
        await writer.drain()
        writer.close()

    async with served(portal) as port:
        with pytest.raises(kind, match=f"HTTP {status}"):
            await ask(ApiSession(api_server(f"http://127.0.0.1:{port}")))
