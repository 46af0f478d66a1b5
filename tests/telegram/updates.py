"""What Telegram tells the bot: a queue that is emptied by confirmed polls or by a webhook."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import deque

from telegram.calls import Call, RefusedError
from telegram.chats import JsonObject
from telegram.clock import Clock

ON_REQUEST = {"chat_member", "message_reaction", "message_reaction_count"}
"""Kinds that a bot gets only if it asks for them by name."""

MOST_AT_ONCE = 100
LONGEST_POLL = 50

OTHER_POLLER = "terminated by other getUpdates request; make sure that only one bot instance is running"
WEBHOOK_ACTIVE = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
WEBHOOK_SET = "terminated by setWebhook request"


def conflict(description: str) -> RefusedError:
    return RefusedError(409, f"Conflict: {description}")


class Poller:
    """One getUpdates that waits."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.ended: str | None = None
        """Why it gets no updates."""


class Updates:
    """Updates that the bot has not confirmed, oldest first."""

    def __init__(self, clock: Clock, lock: threading.RLock) -> None:
        self.pending: deque[JsonObject] = deque()
        self.log: dict[int, JsonObject] = {}
        """Every update that was ever made, by its number."""
        self.allowed: list[str] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.arrived: asyncio.Event | None = None
        """Set for the webhook's sender."""
        self._poller: Poller | None = None
        self._repeats: list[JsonObject] = []
        self._numbers = itertools.count(1)
        self._clock = clock
        self._lock = lock

    def put(self, kind: str, body: JsonObject) -> int | None:
        """Queue an update; returns its number, or None where the bot does not want this kind."""
        if (kind not in self.allowed) if self.allowed else (kind in ON_REQUEST):
            return None
        with self._lock:
            number = next(self._numbers)
            self.log[number] = {"update_id": number, kind: body}
            self.pending.append(self.log[number])
        self.wake()
        return number

    def repeat(self, number: int) -> None:
        """Hand an update out once more, confirmed or not, as Telegram does after an answer that it did not get."""
        with self._lock:
            self._repeats.append(self.log[number])
        self.wake()

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the server has just stopped
            if self.loop is not None:
                self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in (self._poller.woken if self._poller else None, self.arrived):
            if event is not None:
                event.set()

    @property
    def is_polled(self) -> bool:
        """Whether somebody waits for updates."""
        return self._poller is not None

    def allow(self, call: Call) -> None:
        self.allowed = call.json("allowed_updates", list, self.allowed)

    def confirm(self, offset: int) -> None:
        """Forget what is before the offset; a negative one keeps so many at the end."""
        with self._lock:
            while self.pending and (self.pending[0]["update_id"] < offset if offset >= 0 else len(self.pending) > -offset):
                self.pending.popleft()

    def next_batch(self, limit: int) -> list[JsonObject]:
        with self._lock:
            repeats, self._repeats = self._repeats[:limit], self._repeats[limit:]
            return repeats + list(itertools.islice(self.pending, limit - len(repeats)))

    def end_poll(self, reason: str) -> None:
        """The waiting getUpdates, if any, gets a 409."""
        if self._poller is not None:
            self._poller.ended = reason
            self._poller.woken.set()

    async def poll(self, call: Call) -> list[JsonObject]:
        """getUpdates. Raises RefusedError where another poll takes its place."""
        self.allow(call)
        self.confirm(call.number("offset", 0))
        limit = min(max(call.number("limit", MOST_AT_ONCE), 1), MOST_AT_ONCE)
        seconds = min(max(call.number("timeout", 0), 0), LONGEST_POLL)
        self.end_poll(OTHER_POLLER)
        poller = self._poller = Poller()
        deadline = asyncio.get_running_loop().time() + self._clock.real(seconds)
        try:
            while True:
                poller.woken.clear()
                if batch := self.next_batch(limit):
                    return batch
                left = deadline - asyncio.get_running_loop().time()
                try:
                    await asyncio.wait_for(poller.woken.wait(), left)
                except TimeoutError:
                    return []
                if poller.ended is not None:
                    raise conflict(poller.ended)
        finally:
            if self._poller is poller:
                self._poller = None
