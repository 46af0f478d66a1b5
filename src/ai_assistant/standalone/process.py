"""One child of the supervisor: started, watched, probed, started again when it crashes, stopped."""

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ai_assistant.errors import AssistantError
from ai_assistant.standalone.console import Console
from ai_assistant.standalone.output import LogFile, readable, worrying

FIRST_DELAY = 0.5
LAST_DELAY = 30.0
STEADY_SECONDS = 60.0
"""A child that lived that long starts its back-off anew."""
MAX_FIRST_FAILURES = 5
PROBE_SECONDS = 0.1
MAX_LINE = 65536


class ChildFailedError(AssistantError):
    """A part of ai-assistant cannot be started."""

    code = "start_failed"


@dataclass(frozen=True)
class Program:
    """What a child is; `ready` gets its process id."""

    name: str
    command: Callable[[], list[str]]
    ready: Callable[[int], Awaitable[bool]]
    environment: Mapping[str, str] | None = None
    prepare: Callable[[], None] | None = None
    """Blocking; runs before every start."""
    recover: Callable[[str], bool] | None = None
    """After a failed start, given its output: True if it mended something and another start is worth it."""
    worry: Callable[[str], str | None] = worrying
    stop_signal: signal.Signals = signal.SIGTERM
    first_delay: float = FIRST_DELAY
    is_optional: bool = False
    """Not a reason to give up the whole start: without a good token there is no bot, and everything else runs."""


class Child:
    """Runs one program until it is stopped."""

    def __init__(self, program: Program, console: Console, logs: Path) -> None:
        self.name = program.name
        self.healthy = asyncio.Event()
        """Set once it has been ready for the first time."""
        self._program = program
        self._console = console
        self._log = LogFile(logs / f"{program.name}.log")
        self._tail: deque[str] = deque(maxlen=50)
        self._process: asyncio.subprocess.Process | None = None
        self._is_ready = False
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    async def run(self) -> None:
        """Returns once stopped; raises ChildFailedError if it never gets healthy."""
        failures, delay = 0, self._program.first_delay
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._live()
            if self._stopping.is_set():
                return
            if not self._is_ready and self._program.recover and self._program.recover("\n".join(self._tail)):
                self._console.say(f"{self.name} could not read its data; it was moved aside.")
                continue
            failures += 1
            if code == 1 and (sentence := self._configuration_error()):
                if self._program.is_optional:
                    self._console.say(f"{self.name} is off: {sentence}")
                    return
                if not self.healthy.is_set():
                    raise ChildFailedError(sentence)
            if failures >= MAX_FIRST_FAILURES and not self.healthy.is_set() and not self._program.is_optional:
                reason = f"{_ending(code)}{self._last_line()}"
                raise ChildFailedError(f"{self.name} does not start: it {reason}. Log: {self._log.path}")
            if self._is_ready and time.monotonic() - began >= STEADY_SECONDS:
                delay = self._program.first_delay
            self._console.say(f"{self.name} {_ending(code)}{self._last_line()}; it starts again in {delay:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            delay = min(2 * delay, LAST_DELAY)

    async def stop(self, seconds: float) -> None:
        """Ask it to end and see to it that it has after `seconds`."""
        self._stopping.set()
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(self._program.stop_signal)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), seconds)
        self.kill()
        if process is not None:
            await process.wait()

    def kill(self) -> None:
        """SIGKILL to it and to what it started."""
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            kill_group(self._process.pid)

    async def _live(self) -> int:
        self._is_ready = False
        self._tail.clear()
        if self._program.prepare:
            await asyncio.to_thread(self._program.prepare)
        if self._stopping.is_set():
            return 0
        process = self._process = await asyncio.create_subprocess_exec(
            *self._program.command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._program.environment,
            start_new_session=True,
        )
        if process.stdout is None:
            raise AssertionError("a pipe was asked for")
        reader = asyncio.create_task(read_lines(process.stdout, self._take_line))
        prober = asyncio.create_task(self._probe(process.pid))
        try:
            code = await process.wait()
            # What it started may hold the pipe open: nothing of a dead child is waited for.
            kill_group(process.pid)
            await asyncio.wait({reader}, timeout=1)
            return code
        finally:
            reader.cancel()
            prober.cancel()

    async def _probe(self, pid: int) -> None:
        while not await self._program.ready(pid):  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(PROBE_SECONDS)
        self._is_ready = True
        if self.healthy.is_set():
            self._console.say(f"{self.name} is back")
        self.healthy.set()

    def _take_line(self, line: str) -> None:
        self._log.write(line)
        if line.strip():
            self._tail.append(line)
        if self._console.verbose:
            self._console.say(f"{self.name} | {readable(line)}")
        elif not self._stopping.is_set() and (text := self._program.worry(line)):
            self._console.say(f"{self.name} | {text}")

    def _configuration_error(self) -> str | None:
        """The sentence with which our own commands end when a person has to put something right: no retry will."""
        if not self._tail or not self._tail[-1].startswith("error: "):
            return None
        return readable(self._tail[-1]).removeprefix("error: ")

    def _last_line(self) -> str:
        return f" ({readable(self._tail[-1])[:500]})" if self._tail else ""


async def read_lines(stream: asyncio.StreamReader, take: Callable[[str], None]) -> None:
    """Call `take` for each line; a line without end is cut into pieces rather than kept."""
    rest = b""
    while chunk := await stream.read(MAX_LINE):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE:
            lines, rest = [*lines, rest], b""
        for line in lines:
            take(line.decode("utf-8", "replace").rstrip("\r"))
    if rest:
        take(rest.decode("utf-8", "replace"))


def kill_group(pid: int) -> None:
    """SIGKILL to every process in the session that the child leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
