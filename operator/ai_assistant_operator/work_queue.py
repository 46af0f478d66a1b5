"""Whose turn it is: each key waits at most once and is worked on by one worker at a time.

What is added while it is worked on comes again after. Failures wait longer each time, with jitter; other keys do not wait for
them. First come, first served.
"""

import asyncio
import heapq
import random
from collections import OrderedDict
from collections.abc import Callable

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0


class WorkQueue:
    """All times are in seconds of `clock`, which must be the event loop's."""

    def __init__(self, clock: Callable[[], float] | None = None, jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._jitter = jitter
        self._ready: OrderedDict[str, float] = OrderedDict()
        self._later: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._working: dict[str, float] = {}
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: str, after: float = 0.0) -> None:
        """Asks for a turn; of several requests the earliest counts."""
        if after <= 0:
            self._due.pop(key, None)
            if key in self._working:
                self._again.add(key)
            elif key not in self._ready:
                self._ready[key] = self._clock()
                self._changed.set()
            return
        if key in self._ready or key in self._again:
            return
        due = self._clock() + after
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._later, (due, key))
            self._changed.set()

    async def get(self) -> str:
        """Waits for the next key, which is the caller's until `done`."""
        while True:
            now = self._clock()
            pause = self.promote(now)
            if self._ready:
                key, _ = self._ready.popitem(last=False)
                self._working[key] = now
                if self._ready:
                    self._changed.set()
                return key
            self._changed.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def promote(self, now: float) -> float | None:
        """Moves what is due to those that are ready; seconds until the next one is due, None when there is none."""
        while self._later:
            due, key = self._later[0]
            if self._due.get(key) != due:
                heapq.heappop(self._later)
                continue
            if due > now:
                return due - now
            heapq.heappop(self._later)
            del self._due[key]
            self.add(key)
        return None

    def done(self, key: str, *, failed: bool = False) -> float | None:
        """Ends the turn. After a failure the key comes again by itself, in so many seconds."""
        del self._working[key]
        pause = None
        if failed:
            count = self._failures[key] = self._failures.get(key, 0) + 1
            pause = min(FIRST_PAUSE * 2.0 ** min(count - 1, 20), LONGEST_PAUSE) * (0.75 + self._jitter() / 2)
        else:
            self._failures.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif pause is not None:
            self.add(key, pause)
        return pause

    def forget(self, key: str) -> None:
        """Drops what is planned for a key that is no more."""
        for place in (self._ready, self._due, self._failures):
            place.pop(key, None)
        self._again.discard(key)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest key has been waiting for a worker or keeping one busy."""
        since = [next(iter(self._ready.values()))] if self._ready else []
        return max((self._clock() - at for at in [*since, *self._working.values()]), default=0.0)
