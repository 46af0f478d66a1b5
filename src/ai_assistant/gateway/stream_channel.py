"""The open readers of one task inside this process. Pure bookkeeping; stream_redis and stream_rows feed it."""

import asyncio
import uuid
from collections.abc import Sequence

from ai_assistant.gateway.stream_events import EndEvent, Event, QueueEvent
from ai_assistant.gateway.stream_reader import StreamReader
from ai_assistant.gateway.task_snapshot import TaskSnapshot
from ai_assistant.streams import Entry
from ai_assistant.tasks.backlog import Place

START = "0-0"
"""Redis id before every entry: the stream is read from its start."""

STALL_SECONDS = 1.0
"""A reader that has got nothing for this long is looked after by PostgreSQL."""


class Subscription:
    """One reader. It is told what changed when it asks, so a slow client costs no memory."""

    def __init__(self, offset: int, now: float) -> None:
        self.reader = StreamReader(offset)
        self.changed = asyncio.Event()
        self.is_open = False
        """The row has been seen, so the attempt is known below which entries do not count."""
        self.progress_at = now
        self.over = False
        self._place: Place | None = None
        self._place_told: Place | None = None
        self.final: TaskSnapshot | None = None

    def look(self, task: TaskSnapshot | None, now: float) -> None:
        """Take in what the row says; None: the task was deleted."""
        before = self.reader.text
        if task is None:
            self.over = True
        elif task.is_final:
            self.reader.finish(task.text)
            self.final, self.over = task, True
        else:
            self.reader.checkpoint(task.text, task.attempt)
            self._place = task.place
        self.is_open = True
        if self.reader.text != before:
            self.progress_at = now
        self.changed.set()

    def feed(self, entries: Sequence[Entry], *, from_start: bool, now: float) -> None:
        if not self.is_open or self.over:
            return
        before = self.reader.text
        if from_start:
            self.reader.feed_all(entries)
        else:
            self.reader.feed(entries)
        if self.reader.text != before:
            self._place = None
            self.progress_at = now
            self.changed.set()

    def take(self) -> list[Event]:
        """What the client has not been told yet."""
        self.changed.clear()
        events: list[Event] = []
        if self._place != self._place_told and not self.over:
            self._place_told = self._place
            if self._place is not None:
                events.append(QueueEvent(self._place.position, self._place.eta_seconds))
        events.extend(self.reader.take())
        if self.over:
            events.append(EndEvent(self.final))
        return events


class Channel:
    """One task and its subscriptions."""

    def __init__(self, task_id: uuid.UUID) -> None:
        self.task_id = task_id
        self.subscriptions: set[Subscription] = set()
        self.last_id = START
        self.row_wanted = True
        """The row should be read at once, not only when the stream stalls."""

    @property
    def is_followed(self) -> bool:
        """Whether its stream should be read."""
        return any(item.is_open and not item.over for item in self.subscriptions)

    def is_stalled(self, now: float) -> bool:
        return any(not item.over and now - item.progress_at >= STALL_SECONDS for item in self.subscriptions)

    @property
    def has_gap(self) -> bool:
        return any(item.reader.gap for item in self.subscriptions)

    def look(self, task: TaskSnapshot | None, now: float) -> bool:
        """Returns whether the stream has to be read from its start now, for a new subscription."""
        fresh = [item for item in self.subscriptions if not item.is_open]
        for item in self.subscriptions:
            if not item.over:
                item.look(task, now)
        if fresh and (task is None or not task.is_final):
            self.last_id = START
            return True
        return False

    def feed(self, entries: Sequence[Entry], *, requested: str, last_id: str, now: float) -> None:
        """Entries after `requested`, the last of them `last_id`."""
        from_start = requested == START
        for item in self.subscriptions:
            item.feed(entries, from_start=from_start, now=now)
            if item.reader.ended:
                item.reader.ended = False
                self.row_wanted = True
        if self.last_id == requested:
            self.last_id = last_id
        if self.has_gap and not from_start:
            # once at once; if that does not close the gap, PostgreSQL will
            self.last_id = START
