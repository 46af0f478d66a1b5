"""An event loop whose clock jumps to the next thing to do: minutes of pauses pass in milliseconds. For what needs no sockets."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Impatient(selectors.DefaultSelector):
    """Does not wait, but notes how long it should have."""

    waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Everybody waits for something that will never happen.")
        self.waited += max(0.0, timeout)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """`loop.time()` begins at 0 and counts simulated seconds."""

    def __init__(self) -> None:
        self._impatient = Impatient()
        super().__init__(self._impatient)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._impatient.waited


def simulated(main: Coroutine[Any, Any, T]) -> T:
    """Run it in simulated time."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)
