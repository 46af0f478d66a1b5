"""The loop that makes up for lost wake tokens, workers and ends."""

from redis.asyncio import Redis

from ai_assistant.database.session import Database
from ai_assistant.dispatch import Dispatcher
from ai_assistant.gateway.stream_hub import StreamHub
from ai_assistant.metrics import GatewayMetrics


class Sweeper:
    """Sweeps every assistant in turn."""

    def __init__(
        self,
        database: Database,
        redis: "Redis",
        dispatcher: Dispatcher,
        hub: StreamHub,
        metrics: GatewayMetrics,
        interval: float,
    ) -> None:
        self._database, self._redis, self._dispatcher = database, redis, dispatcher
        self._hub, self._metrics, self._interval = hub, metrics, interval

    async def start(self) -> None: ...

    async def stop(self) -> None: ...
