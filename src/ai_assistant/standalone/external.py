"""Servers that are not ours: whether AI_ASSISTANT_DATABASE_URL and AI_ASSISTANT_REDIS_URL lead anywhere, in a sentence."""

import asyncio
from urllib.parse import urlsplit

import asyncpg
import redis.asyncio
from redis.exceptions import RedisError

from ai_assistant.errors import ConfigurationError

SECONDS = 5.0


async def require_postgres(url: str) -> None:
    """Raises ConfigurationError unless PostgreSQL answers at `url`."""
    scheme, _, rest = url.partition("://")
    try:
        connection = await asyncpg.connect(f"{scheme.partition('+')[0]}://{rest}", timeout=SECONDS)
        await connection.close(timeout=SECONDS)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ConfigurationError(_sentence("PostgreSQL", "AI_ASSISTANT_DATABASE_URL", url, error)) from error


async def require_redis(url: str) -> None:
    """Raises ConfigurationError unless Redis or Valkey answers at `url`."""
    try:
        client = redis.asyncio.Redis.from_url(url, socket_connect_timeout=SECONDS, socket_timeout=SECONDS, retry=None)
        try:
            async with asyncio.timeout(SECONDS):
                await client.ping()  # type: ignore[misc]  # typed for the blocking client too
        finally:
            await client.aclose()
    except (OSError, TimeoutError, ValueError, RedisError) as error:
        raise ConfigurationError(_sentence("Redis", "AI_ASSISTANT_REDIS_URL", url, error)) from error


def _sentence(server: str, variable: str, url: str, error: BaseException) -> str:
    try:
        parts = urlsplit(url)
        place = parts.hostname or parts.path or parts.query
        place += f":{parts.port}" if parts.port else ""
    except ValueError:
        place = "this URL"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else "no answer in time"
    return f"{server} cannot be reached at {place} ({reason}): check {variable}, or unset it to use the embedded one."
