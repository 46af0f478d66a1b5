"""Telegram's clock, which tests may let run faster than the real one."""

import time


class Clock:
    """Seconds of Telegram: `speed` of them pass in one real second."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._start = time.monotonic()
        self._ahead = 0.0

    def now(self) -> float:
        """Seconds of Telegram since the start."""
        return (time.monotonic() - self._start) * self.speed + self._ahead

    def advance(self, seconds: float) -> None:
        """Let so many seconds of Telegram pass at once."""
        self._ahead += seconds

    def real(self, seconds: float) -> float:
        """How many real seconds so many seconds of Telegram take."""
        return seconds / self.speed
