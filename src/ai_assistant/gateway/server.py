"""Runs the gateway: two HTTP servers in one event loop, stopped in order by SIGTERM or Ctrl-C."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from fastapi import FastAPI

from ai_assistant.errors import ConfigurationError
from ai_assistant.gateway.access import is_loopback
from ai_assistant.gateway.app import create_app, create_internal_app
from ai_assistant.gateway.state import AppState
from ai_assistant.settings import GatewaySettings

logger = logging.getLogger(__name__)

GRACE_SECONDS = 2
"""How long requests that are being served may take after SIGTERM; streams are ended at once."""
KEEP_ALIVE_SECONDS = 75
"""Longer than common reverse proxies keep an idle connection, so that it is never us who hangs up in mid-request."""
BACKLOG = 2048


class GatewayServer(uvicorn.Server):
    """A server that shares the process with another one: signals are handled once, for both."""

    def __init__(self, app: FastAPI, *, before_shutdown: Callable[[], Awaitable[None]] | None = None) -> None:
        config = uvicorn.Config(
            app,
            lifespan="on" if before_shutdown else "off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        super().__init__(config)
        self._before_shutdown = before_shutdown

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._before_shutdown is not None:
            await self._before_shutdown()
        await super().shutdown(sockets)


def run(settings: GatewaySettings) -> None:
    """Serve until a signal. Raises ConfigurationError for what a person has to put right first."""
    check_exposure(settings)
    with contextlib.ExitStack() as stack:
        public = listen(settings.host, settings.port, "AI_ASSISTANT_PORT")
        stack.callback(close, public)
        internal = listen(*settings.internal_address, "AI_ASSISTANT_INTERNAL_PORT")
        stack.callback(close, internal)
        asyncio.run(serve(settings, public, internal))


def check_exposure(settings: GatewaySettings) -> None:
    """Without keys only this machine may reach the API. /metrics needs no key, and /internal has its own token."""
    if settings.api_keys or settings.service_keys or is_loopback(settings.host):
        return
    raise ConfigurationError(
        f"AI_ASSISTANT_HOST is {settings.host}, so other machines could use this gateway: set AI_ASSISTANT_API_KEYS "
        "(or AI_ASSISTANT_SERVICE_KEYS), or listen on 127.0.0.1."
    )


async def serve(settings: GatewaySettings, public: list[socket.socket], internal: list[socket.socket]) -> None:
    """Serve both applications on sockets that are bound already."""
    app = create_app(settings)
    state: AppState = app.state.gateway
    servers = (
        (GatewayServer(app, before_shutdown=state.end_streams), public),
        (GatewayServer(create_internal_app(settings, state)), internal),
    )

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    logger.info("serving the API on %s, metrics on %s", address_of(public[0]), address_of(internal[0]))

    async def serve_one(server: GatewayServer, sockets: list[socket.socket]) -> None:
        try:
            await server.serve(sockets)
        finally:
            stop()  # one does not go on without the other

    async with asyncio.TaskGroup() as group:
        for server, sockets in servers:
            group.create_task(serve_one(server, sockets))


def listen(host: str, port: int, setting: str) -> list[socket.socket]:
    """Bind every address of `host`. Raises ConfigurationError with a sentence."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigurationError(f"There is no address {host} to listen on: {error.strerror or error}.") from error
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    for family, address in addresses:
        try:
            sockets.append(bind(family, address))
        except OSError as error:
            problem = error
            if error.errno == errno.EADDRINUSE:
                break
        else:
            if port == 0:  # any free port: one is enough
                break
    if problem is None or (sockets and problem.errno != errno.EADDRINUSE):  # e.g. localhost without IPv6
        return sockets
    close(sockets)
    if problem.errno == errno.EADDRINUSE:
        raise ConfigurationError(f"Port {port} on {host} is taken: stop the program that uses it, or set {setting}.") from problem
    raise ConfigurationError(f"Port {port} on {host} cannot be used ({problem.strerror}); see {setting}.") from problem


def bind(family: int, address: object) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen(BACKLOG)  # taken ports are told apart here at the latest
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def close(sockets: list[socket.socket]) -> None:
    for listener in sockets:
        listener.close()


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
