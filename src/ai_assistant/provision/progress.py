"""How a build says how far it is: a bar for a person, JSON lines for a program that reads the log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichBars
from rich.text import Text

# A stage, how many bytes of it are done, and of how many (None: nobody knows).
Progress = Callable[[str, int, int | None], None]

# The stages of a build, in order. `wait`: another process builds the same package.
WAIT, DOWNLOAD, UNPACK, CONVERT, VERIFY = "wait", "download", "unpack", "convert", "verify"

_TITLES = {
    WAIT: "Waiting for another build of this model",
    DOWNLOAD: "Downloading",
    UNPACK: "Unpacking",
    CONVERT: "Writing the graph",
    VERIFY: "Checking the result",
}


class ProgressView(Protocol):
    """Something that shows progress while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def __call__(self, stage: str, done: int, total: int | None) -> None: ...


def no_progress(stage: str, done: int, total: int | None) -> None:
    """For callers who do not care."""


def progress_view(stream: TextIO) -> ProgressView:
    """The view that suits `stream`."""
    return BarsView(stream) if stream.isatty() else JsonLinesView(stream)


class JsonLinesView(AbstractContextManager["JsonLinesView", None]):
    """One JSON object a line: at once for a new stage, then at most two a second, and the last state of a stage."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic, interval: float = 0.5) -> None:
        self._stream = stream
        self._clock = clock
        self._interval = interval
        self._stage: str | None = None
        self._stage_began = self._written_at = 0.0
        self._stage_began_with = 0
        self._pending: tuple[str, int, int | None] | None = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = self._clock()
        if stage != self._stage:
            self._flush(now)
            self._stage, self._stage_began, self._stage_began_with = stage, now, done
        elif now - self._written_at < self._interval:
            self._pending = (stage, done, total)
            return
        self._write(now, stage, done, total)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._flush(self._clock())

    def _flush(self, now: float) -> None:
        if self._pending is not None:
            self._write(now, *self._pending)

    def _write(self, now: float, stage: str, done: int, total: int | None) -> None:
        self._pending, self._written_at = None, now
        elapsed = now - self._stage_began
        speed = (done - self._stage_began_with) / elapsed if elapsed > 0 else 0.0
        eta = (total - done) / speed if total is not None and speed > 0 else None
        line = {
            "stage": stage,
            "done": done,
            "total": total,
            "bytes_per_second": round(speed) if speed > 0 else None,
            "eta_seconds": None if eta is None else round(eta, 1),
        }
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()


class _Bytes(DownloadColumn):
    """Nothing for a stage that does not count bytes."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.completed > 1 else Text()


class _Speed(TransferSpeedColumn):
    """Nothing for a stage that does not count bytes."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.completed > 1 else Text()


class BarsView(AbstractContextManager["BarsView", None]):
    """A bar per stage."""

    def __init__(self, stream: TextIO) -> None:
        self._bars = RichBars(
            TextColumn("{task.description}"),
            BarColumn(),
            _Bytes(),
            _Speed(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self._stage: str | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self._end_stage()
        self._bars.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage != self._stage or self._task is None:
            self._end_stage()
            self._stage, self._task = stage, self._bars.add_task(_TITLES.get(stage, stage), total=total)
        self._bars.update(self._task, completed=done, total=total)

    def _end_stage(self) -> None:
        if self._task is None:
            return
        bar = next(task for task in self._bars.tasks if task.id == self._task)
        total = bar.total if bar.total is not None else max(bar.completed, 1)
        self._bars.update(self._task, completed=total, total=total)
