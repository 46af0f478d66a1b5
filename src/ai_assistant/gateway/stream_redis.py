"""Readers of live text and Redis: all open streams of this process over three connections.

One connection waits in XREAD on every open stream at once. A stream of our own among them wakes it when there is one more to
read. Whenever Redis was away, everything is read again from the start; readers drop what they know by its offset.
"""

import asyncio
import contextlib
import logging
import secrets
import uuid
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ai_assistant.contracts import EVENTS_CHANNEL, stream_key
from ai_assistant.gateway.stream_channel import STALL_SECONDS, START, Channel
from ai_assistant.streams import Entry, decode

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 2.0
COMMAND_SECONDS = 1.0
BACK_OFF_SECONDS = (0.05, 0.2, 0.5, 1.0)
WAKE_TTL_MS = 60_000

Fields = dict[Any, Any]


class StreamFollower:
    """Feeds channels with what workers append."""

    def __init__(self, redis_url: str, channels: dict[uuid.UUID, Channel], rows_wanted: asyncio.Event) -> None:
        self._channels = channels
        self._rows_wanted = rows_wanted
        self.wake = asyncio.Event()
        self.announced = asyncio.Event()
        """Set at the next change of any task, and replaced then."""
        self._wake_key = f"wake:{secrets.token_hex(8)}"
        self._wake_id = START
        self._blocking = connect(redis_url, BLOCK_SECONDS + COMMAND_SECONDS)
        self.redis = connect(redis_url, COMMAND_SECONDS)
        self._announcements = connect(redis_url, COMMAND_SECONDS)
        self._logged_away = False

    def loops(self) -> list[Callable[[], Any]]:
        """What has to run, each for ever."""
        return [self._follow, self._wake_up, self._check, self._listen]

    async def close(self) -> None:
        for redis in (self._blocking, self.redis, self._announcements):
            with contextlib.suppress(RedisError, OSError):
                await redis.aclose()

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                await self._read()
                failures = 0
                if self._logged_away:
                    self._logged_away = False
                    logger.info("Redis answers again; streams are read from their start")
            except (RedisError, OSError) as error:
                if not self._logged_away:
                    self._logged_away = True
                    logger.warning("Redis cannot be reached (%s); open streams follow the checkpoints", error)
                for channel in self._channels.values():
                    channel.last_id = START
                self._wake_id = START
                await asyncio.sleep(BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)])
                failures += 1

    async def _read(self) -> None:
        """One XREAD over all streams that somebody follows."""
        followed = {stream_key(item.task_id): (item, item.last_id) for item in self._channels.values() if item.is_followed}
        streams: dict[Any, Any] = {self._wake_key: self._wake_id}
        streams.update((key, last_id) for key, (_, last_id) in followed.items())
        reply: list[tuple[bytes, list[tuple[bytes, Fields]]]] = await self._blocking.xread(
            streams, block=int(BLOCK_SECONDS * 1000)
        )
        now = asyncio.get_running_loop().time()
        for raw_key, items in reply:
            key, last_id = decode(raw_key), decode(items[-1][0])
            if key == self._wake_key:
                self._wake_id = last_id
                continue
            channel, requested = followed[key]
            channel.feed(parse(items), requested=requested, last_id=last_id, now=now)
            if channel.row_wanted:
                self._rows_wanted.set()

    async def _wake_up(self) -> None:
        """Interrupt the XREAD that waits. If Redis is away nothing waits, and nothing is lost."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            with contextlib.suppress(RedisError, OSError):
                pipeline = self.redis.pipeline(transaction=False)
                pipeline.xadd(self._wake_key, {"w": 1}, maxlen=1, approximate=False)
                pipeline.pexpire(self._wake_key, WAKE_TTL_MS)
                await pipeline.execute()

    async def _check(self) -> None:
        """Once a second: streams that stall may have gone and come again with smaller ids (a clock that was set back)."""
        while True:
            await asyncio.sleep(STALL_SECONDS)
            now = asyncio.get_running_loop().time()
            stalled = [item for item in self._channels.values() if item.is_followed and item.is_stalled(now)]
            again = [item for item in stalled if item.has_gap]
            moved = [item for item in stalled if item.last_id != START and not item.has_gap]
            if moved:
                with contextlib.suppress(RedisError, OSError):
                    pipeline = self.redis.pipeline(transaction=False)
                    for channel in moved:
                        pipeline.xrevrange(stream_key(channel.task_id), count=1)
                    seen = [channel.last_id for channel in moved]
                    for channel, last_id, newest in zip(moved, seen, await pipeline.execute(), strict=True):
                        gone = not newest or id_order(decode(newest[0][0])) < id_order(last_id)
                        if gone and channel.last_id == last_id:
                            again.append(channel)
            if again:
                for channel in again:
                    channel.last_id = START
                self.wake.set()

    async def _listen(self) -> None:
        """Announced changes of state: a hint to look at the row, no more."""
        while True:
            try:
                async with self._announcements.pubsub() as pubsub:
                    await pubsub.subscribe(EVENTS_CHANNEL)
                    while True:
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=BLOCK_SECONDS)
                        if message is not None:
                            self._announced(decode(message["data"]))
            except (RedisError, OSError):
                await asyncio.sleep(BACK_OFF_SECONDS[-1])

    def ring(self) -> None:
        """Wake all who wait for any change at all."""
        self.announced.set()
        self.announced = asyncio.Event()

    def _announced(self, name: str) -> None:
        self.ring()
        with contextlib.suppress(ValueError):
            channel = self._channels.get(uuid.UUID(name))
            if channel is not None:
                channel.row_wanted = True
                self._rows_wanted.set()


def connect(redis_url: str, seconds: float) -> "Redis":
    """A client that reports a lost connection at once: what to do then is decided here."""
    return Redis.from_url(
        redis_url,
        socket_timeout=seconds,
        socket_connect_timeout=COMMAND_SECONDS,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=5,
    )


def parse(items: list[tuple[bytes, Fields]]) -> list[Entry]:
    """Entries without those that are not ours."""
    entries = []
    for _, fields in items:
        with contextlib.suppress(KeyError, ValueError):
            entries.append(Entry.parse(fields))
    return entries


def id_order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
