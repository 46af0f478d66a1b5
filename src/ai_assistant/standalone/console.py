"""What `ai-assistant up` says on the terminal. A terminal that went away is no reason to fail."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from typing import TextIO

QUIET_SECONDS = 2.0
"""A step that takes longer is announced before it is done."""


class Console:
    """Writes whole lines; `say` for progress and warnings, `show` for the result."""

    def __init__(self, *, verbose: bool = False, output: TextIO | None = None, errors: TextIO | None = None) -> None:
        self.verbose = verbose
        self._output = output or sys.stdout
        self._errors = errors or sys.stderr

    def say(self, text: str) -> None:
        _write(self._errors, text)

    def show(self, text: str) -> None:
        _write(self._output, text)

    @property
    def is_terminal(self) -> bool:
        return self._errors.isatty()

    @contextlib.asynccontextmanager
    async def step(self, title: str, *, announced: bool = False) -> AsyncIterator[None]:
        """Tell how long the step took, and after 2 s that it is under way; at once if it is going to draw on the terminal."""
        began = time.monotonic()
        announcer = asyncio.create_task(self._announce(title, 0 if announced else QUIET_SECONDS))
        if announced:
            await announcer
        try:
            yield
            self.say(f"{title}… {time.monotonic() - began:.1f} s")
        finally:
            announcer.cancel()

    async def _announce(self, title: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.say(f"{title}…")


def _write(stream: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.write(text + "\n")
        stream.flush()
