"""Live text for everybody who watches a task through this gateway: Redis for speed, PostgreSQL for truth.

Readers come and go by `events`; whatever happens to Redis or PostgreSQL meanwhile, a stream stays open and goes on.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator

from redis.exceptions import RedisError

from ai_assistant.database.models import Task
from ai_assistant.database.session import Database
from ai_assistant.gateway.background import Background, end
from ai_assistant.gateway.stream_channel import Channel, Subscription
from ai_assistant.gateway.stream_events import EndEvent, Event, IdleEvent
from ai_assistant.gateway.stream_reader import StreamReader
from ai_assistant.gateway.stream_redis import StreamFollower
from ai_assistant.gateway.stream_rows import RowPoller
from ai_assistant.gateway.task_snapshot import TaskSnapshot
from ai_assistant.metrics import GatewayMetrics
from ai_assistant.streams import read_stream

LOOK_SECONDS = 0.5
"""Longest wait for Redis by a request that can do without."""

BACKGROUND_SECONDS = 2.0


class Watch:
    """One reader of one task."""

    def __init__(self, hub: "StreamHub", task_id: uuid.UUID, offset: int) -> None:
        self._hub = hub
        self._channel = hub.channel(task_id)
        self._subscription = Subscription(offset, asyncio.get_running_loop().time())
        self._channel.subscriptions.add(self._subscription)
        hub.read_row(self._channel)

    async def next(self, seconds: float | None = None) -> list[Event]:
        """At least one event: an IdleEvent after `seconds` without another. Empty when the gateway stops."""
        try:
            async with asyncio.timeout(seconds):
                while not self._hub.is_stopping:
                    if events := self._subscription.take():
                        return events
                    await self._subscription.changed.wait()
        except TimeoutError:
            return [IdleEvent()]
        return []

    def close(self) -> None:
        self._channel.subscriptions.discard(self._subscription)
        self._hub.release(self._channel)


class StreamHub:
    """All open streams of one gateway process. Nothing is connected before the first reader comes."""

    def __init__(self, database: Database, redis_url: str, metrics: GatewayMetrics) -> None:
        self._metrics = metrics
        self._channels: dict[uuid.UUID, Channel] = {}
        self._loops: list[asyncio.Task[None]] = []
        self.is_stopping = False
        self._rows_wanted = asyncio.Event()
        self._follower = StreamFollower(redis_url, self._channels, self._rows_wanted)
        self._poller = RowPoller(database, self._channels, self._rows_wanted, self._follower.wake)
        self.background = Background()

    def channel(self, task_id: uuid.UUID) -> Channel:
        return self._channels.setdefault(task_id, Channel(task_id))

    def read_row(self, channel: Channel) -> None:
        """Now, with all others that want it."""
        channel.row_wanted = True
        self._rows_wanted.set()

    def release(self, channel: Channel) -> None:
        """Forget it when its last reader has gone."""
        if not channel.subscriptions and self._channels.get(channel.task_id) is channel:
            del self._channels[channel.task_id]

    @property
    def next_change(self) -> asyncio.Event:
        """Set when a task of any kind changes its state the next time, or this gateway stops: a hint, which may get lost."""
        return self._follower.announced

    def announce_change(self) -> None:
        """For those who wait for the next change in this process."""
        self._follower.ring()

    async def start(self) -> None:
        self.is_stopping = False
        for loop in (self._poller.run, *self._follower.loops()):
            self._loops.append(asyncio.create_task(loop()))

    async def stop(self) -> None:
        """End all streams now; their readers come again elsewhere with what they have."""
        self.is_stopping = True
        for channel in self._channels.values():
            for subscription in channel.subscriptions:
                subscription.changed.set()
        self._follower.ring()
        await end(*self._loops)
        self._loops.clear()
        await self.background.close(BACKGROUND_SECONDS)
        await self._follower.close()

    def watch(self, task_id: uuid.UUID, *, offset: int = 0) -> Watch:
        """Follow a task, as a reader who has its first `offset` code points. Close it in the end."""
        return Watch(self, task_id, offset)

    async def events(
        self, task_id: uuid.UUID, *, offset: int = 0, idle_seconds: float | None = None
    ) -> AsyncGenerator[Event, None]:
        """What happens to a task from now on, for a reader who has its first `offset` code points.

        Ends with an EndEvent, or without one when this gateway stops. Nothing for `idle_seconds`: an IdleEvent.
        """
        with self._metrics.streams_open.track_inprogress(), contextlib.closing(self.watch(task_id, offset=offset)) as watch:
            while not self.is_stopping:
                for event in await watch.next(idle_seconds):
                    yield event
                    if isinstance(event, EndEvent):
                        return

    async def wait_final(self, task_id: uuid.UUID, seconds: float) -> TaskSnapshot | None:
        """The task when it is over; None if it is not within `seconds`, or was deleted."""
        with contextlib.closing(self.watch(task_id)) as watch, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.is_stopping:
                    for event in await watch.next():
                        if isinstance(event, EndEvent):
                            return event.task
        return None

    async def text_so_far(self, task: Task | TaskSnapshot) -> str:
        """The longer of the live text and the row's."""
        if isinstance(task, TaskSnapshot):
            saved, is_final = task.text, task.is_final
        else:
            saved, is_final = task.checkpoint_text, task.finished_at is not None
        if is_final or task.attempt == 0:
            return saved
        reader = StreamReader(attempt=task.attempt)
        with contextlib.suppress(RedisError, OSError, TimeoutError, KeyError, ValueError):
            async with asyncio.timeout(LOOK_SECONDS):
                reader.feed_all(entry for _, entry in await read_stream(self._follower.redis, task.id))
        return reader.text if len(reader.text) > len(saved) else saved
