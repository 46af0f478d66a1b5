"""What the routes of one gateway process share: built without any I/O, started and stopped with the process."""

import asyncio
from dataclasses import dataclass, field
from typing import Self

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from ai_assistant.database.session import Database
from ai_assistant.dispatch import Dispatcher
from ai_assistant.gateway.authentication import Keyring
from ai_assistant.gateway.background import end
from ai_assistant.gateway.queue_feed import QueueFeed
from ai_assistant.gateway.queue_metrics import QueueMetrics
from ai_assistant.gateway.readiness import Readiness
from ai_assistant.gateway.registration import register_from_settings
from ai_assistant.gateway.stream_hub import StreamHub
from ai_assistant.gateway.stream_redis import connect
from ai_assistant.gateway.sweeper import Sweeper
from ai_assistant.metrics import GatewayMetrics, process_registry
from ai_assistant.settings import GatewaySettings

REDIS_CONNECT_SECONDS = 1.0
REDIS_COMMAND_SECONDS = 2.0
LISTENER_SECONDS = 3.0


def connect_redis(url: str) -> Redis:
    """A client that gives up soon: whoever uses Redis here can do without it."""
    return Redis.from_url(
        url,
        socket_connect_timeout=REDIS_CONNECT_SECONDS,
        socket_timeout=REDIS_COMMAND_SECONDS,
        # one repetition at once: a pooled connection may be one to a server that has been restarted since
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )


@dataclass
class AppState:
    """The process's one database pool, Redis client and background helpers."""

    settings: GatewaySettings
    keyring: Keyring
    database: Database
    redis: Redis
    dispatcher: Dispatcher
    registry: CollectorRegistry
    metrics: GatewayMetrics
    hub: StreamHub
    sweeper: Sweeper
    readiness: Readiness
    queue_metrics: QueueMetrics
    queue_feed: QueueFeed
    _registration: asyncio.Task[None] | None = None
    _streams_ended: bool = field(default=False)

    @classmethod
    def build(cls, settings: GatewaySettings) -> Self:
        """Connects to nothing: PostgreSQL and Redis may come later, and go and come again."""
        redis_url = settings.redis_url.get_secret_value()
        database = Database(settings.database_url.get_secret_value())
        redis = connect_redis(redis_url)
        dispatcher = Dispatcher(redis_url)
        registry = process_registry()
        metrics = GatewayMetrics(registry)
        hub = StreamHub(database, redis_url, metrics)
        return cls(
            settings=settings,
            keyring=Keyring(settings.api_keys, settings.service_keys),
            database=database,
            redis=redis,
            dispatcher=dispatcher,
            registry=registry,
            metrics=metrics,
            hub=hub,
            sweeper=Sweeper(database, redis, dispatcher, hub, metrics, settings.sweep_seconds),
            readiness=Readiness(database, redis, metrics),
            queue_metrics=QueueMetrics(database, redis, registry, metrics, settings.metrics_include),
            queue_feed=QueueFeed(database, redis, connect(redis_url, LISTENER_SECONDS)),
        )

    async def start(self) -> None:
        await self.hub.start()
        await self.sweeper.start()
        if self.settings.assistant is not None:
            self._registration = asyncio.create_task(register_from_settings(self.database, self.settings))

    async def end_streams(self) -> None:
        """End every open stream now, so that its reader reconnects to another replica."""
        if not self._streams_ended:
            self._streams_ended = True
            await self.queue_feed.stop()
            await self.hub.stop()

    async def stop(self) -> None:
        if self._registration is not None:
            await end(self._registration)
        await self.sweeper.stop()
        await self.end_streams()
        await self.readiness.close()
        await self.queue_metrics.close()
        self.dispatcher.close()
        await self.redis.aclose()
        await self.database.close()
