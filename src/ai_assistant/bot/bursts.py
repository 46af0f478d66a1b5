"""Bursts: what is said once, not once per picture of an album."""

import time
from collections import OrderedDict

QUIET_SECONDS = 10.0
"""Attachments that follow each other faster are one burst."""

MAX_REMEMBERED = 10_000


class Bursts:
    """When something was last said where."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[int, int | None], float] = OrderedDict()

    def is_first(self, chat_id: int, thread_id: int | None, now: float | None = None) -> bool:
        """Whether a burst begins: nothing has come here for QUIET_SECONDS. `now` in seconds of a monotonic clock."""
        now = time.monotonic() if now is None else now
        place = (chat_id, thread_id)
        last = self._last.pop(place, None)
        self._last[place] = now
        if len(self._last) > MAX_REMEMBERED:
            self._last.popitem(last=False)
        return last is None or now - last >= QUIET_SECONDS
