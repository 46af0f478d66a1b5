"""How a build says how far it is: a bar for a person, JSON lines for a program that reads the log.

A line is one object, on stderr, at most two a second, and one every ten seconds whatever a build is at:

    {"stage": "download", "file": "model.safetensors", "bytes": 1048576, "total": 4194304,
     "bytes_per_second": 524288, "eta_seconds": 6.0, "note": null}

`stage` is one of STAGES; `bytes` and `total` count the whole stage, all of its files together, and only grow unless a
download has to start over; `file` is the one at hand. What nobody knows is null. `note` is a sentence about a pause, such as
a server that is busy, or about why the next precision is tried, for which stages begin again.
The lines of a build end with those of its last stage; its result is on stdout.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
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

WAIT, RESOLVE, DOWNLOAD, CHECKSUM, UNPACK = "wait", "resolve", "download", "checksum", "unpack"
EXPORT, CONVERT, VERIFY = "export", "convert", "verify"

# The stages of a build, in order; none but the last two are in every build.
STAGES = {
    WAIT: "Waiting for another build of this model",
    RESOLVE: "Asking what there is",
    DOWNLOAD: "Downloading",
    CHECKSUM: "Comparing checksums",
    UNPACK: "Unpacking",
    EXPORT: "Exporting by optimum",
    CONVERT: "Writing the graph",
    VERIFY: "Checking the result",
}
# Seconds that a speed is the mean of, and after which a line that says nothing new is written again.
_SPEED_WINDOW = 10.0
_SIGN_OF_LIFE = 10.0


class Progress(Protocol):
    """Is told of a stage, how many bytes of it are done, of how many (None: nobody knows), of which file, and a remark."""

    def __call__(self, stage: str, done: int, total: int | None, file: str | None = None, note: str | None = None) -> None: ...


class ProgressView(Progress, Protocol):
    """Something that shows progress while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def no_progress(stage: str, done: int, total: int | None, file: str | None = None, note: str | None = None) -> None:
    """For callers who do not care."""


def progress_view(stream: TextIO) -> ProgressView:
    """The view that suits `stream`."""
    return BarsView(stream) if stream.isatty() else JsonLinesView(stream)


class JsonLinesView(AbstractContextManager["JsonLinesView", None]):
    """One JSON object a line: at once for a new stage or a note, then at most two a second, and the last state of a stage.

    While it is entered, a step that reports nothing for long is covered too: a thread repeats the last state.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval: float = 0.5,
        sign_of_life: float = _SIGN_OF_LIFE,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._interval = interval
        self._sign_of_life = sign_of_life
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._last: tuple[str, int, int | None, str | None] | None = None
        self._stage: str | None = None
        self._written_at = 0.0
        # Moments and bytes of the last lines of this stage.
        self._samples: deque[tuple[float, int]] = deque()
        self._pending: tuple[str, int, int | None, str | None] | None = None

    def __enter__(self) -> Self:
        self._ended.clear()
        self._thread = threading.Thread(target=self._repeat, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._flush(self._clock())

    def __call__(self, stage: str, done: int, total: int | None, file: str | None = None, note: str | None = None) -> None:
        with self._lock:
            now = self._clock()
            self._last = (stage, done, total, file)
            if stage != self._stage:
                self._flush(now)
                self._stage = stage
                self._samples.clear()
            elif note is None:
                is_new = not self._samples or done != self._samples[-1][1]
                if now - self._written_at < (self._interval if is_new else self._sign_of_life):
                    self._pending = self._last if is_new else self._pending
                    return
            self._write(now, stage, done, total, file, note)

    def _repeat(self) -> None:
        pause = self._sign_of_life
        while not self._ended.wait(pause):
            with self._lock:
                now = self._clock()
                if self._last is not None and now - self._written_at >= self._sign_of_life:
                    # Whoever read the lines may be gone; the build's own next line finds that out.
                    with suppress(OSError, ValueError):
                        self._write(now, *self._last)
                due = self._written_at + self._sign_of_life - now
                pause = due if due > 0 else self._sign_of_life

    def _flush(self, now: float) -> None:
        if self._pending is not None:
            self._write(now, *self._pending)

    def _write(self, now: float, stage: str, done: int, total: int | None, file: str | None, note: str | None = None) -> None:
        self._pending, self._written_at = None, now
        speed = self._speed(now, done)
        eta = (total - done) / speed if total is not None and speed > 0 else None
        line = {
            "stage": stage,
            "file": file,
            "bytes": done,
            "total": total,
            "bytes_per_second": round(speed) if speed > 0 else None,
            "eta_seconds": None if eta is None else round(eta, 1),
            "note": note,
        }
        self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._stream.flush()

    def _speed(self, now: float, done: int) -> float:
        if self._samples and done < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _SPEED_WINDOW:
            self._samples.popleft()
        began, before = self._samples[0]
        return (done - before) / (now - began) if now > began else 0.0


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
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
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

    def __call__(self, stage: str, done: int, total: int | None, file: str | None = None, note: str | None = None) -> None:
        if note is not None:
            self._bars.console.print(note, markup=False, highlight=False)
        title = STAGES.get(stage, stage) + (f" {file}" if file else "")
        if stage != self._stage or self._task is None:
            self._end_stage()
            self._stage, self._task = stage, self._bars.add_task(title, total=total)
        self._bars.update(self._task, completed=done, total=total, description=title)

    def _end_stage(self) -> None:
        if self._task is None:
            return
        bar = next(task for task in self._bars.tasks if task.id == self._task)
        total = bar.total if bar.total is not None else max(bar.completed, 1)
        title = STAGES.get(self._stage or "", self._stage)
        self._bars.update(self._task, completed=total, total=total, description=title)
