"""The bot's small HTTP server for whoever watches it: /livez, /readyz, /metrics."""

import logging
import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from ai_assistant.errors import ConfigurationError

logger = logging.getLogger(__name__)

STUCK_SECONDS = 120.0
"""More than one round of long polling takes."""

CLOSE_SECONDS = 1.0


class Pulse:
    """Whether the loop that gets updates still moves, and whether there is anything wrong."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self.is_ready = False
        """Telegram knows us, and updates are taken."""

    def beat(self) -> None:
        self._at = self._clock()

    def problem(self) -> str | None:
        """None: well. Otherwise a sentence."""
        age = self._clock() - self._at
        return f"nothing has moved for {age:.0f} s" if age > STUCK_SECONDS else None


def probe_routes(pulse: Pulse) -> list[web.RouteDef]:
    async def livez(_: web.Request) -> web.Response:
        return answer(pulse.problem())

    async def readyz(_: web.Request) -> web.Response:
        return answer(pulse.problem() or (None if pulse.is_ready else "not ready yet"))

    return [web.get("/livez", livez), web.get("/readyz", readyz)]


def answer(problem: str | None) -> web.Response:
    return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)


def health_app(pulse: Pulse, registry: CollectorRegistry) -> web.Application:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    app = web.Application()
    app.add_routes([*probe_routes(pulse), web.get("/metrics", metrics)])
    return app


async def serve(app: web.Application, host: str, port: int, setting: str) -> web.AppRunner:
    """Serve until the runner's `cleanup`. Raises ConfigurationError where nothing can listen."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigurationError(
            f"Port {port} on {host} cannot be used ({error.strerror or error}): stop the program that uses it, or set {setting}."
        ) from error
    return runner
