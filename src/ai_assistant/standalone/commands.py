"""One-off commands of a start: the migration, and the model build with its progress on the terminal."""

import asyncio
import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ai_assistant.errors import AssistantError
from ai_assistant.provision.sources import shown_source
from ai_assistant.standalone.console import Console
from ai_assistant.standalone.launch import dying_with_parent
from ai_assistant.standalone.output import LogFile, readable
from ai_assistant.standalone.process import kill_group, read_lines

SAY_SECONDS = 5.0


class CommandFailedError(AssistantError):
    """A step of the start has failed."""

    code = "start_failed"


class Commands:
    """Runs `ai-assistant …` to its end; `end` stops what runs."""

    def __init__(self, program: Sequence[str], console: Console, logs: Path) -> None:
        self._program = list(program)
        self._console = console
        self._logs = logs
        self._running: set[asyncio.subprocess.Process] = set()

    async def migrate(self, environment: Mapping[str, str]) -> None:
        """Bring the database to the schema of this version."""
        log = LogFile(self._logs / "migrate.log")
        tail: deque[str] = deque(maxlen=20)

        def take(line: str) -> None:
            log.write(line)
            if line.strip():
                tail.append(line)
            if self._console.verbose:
                self._console.say(f"migrate | {readable(line)}")

        try:
            code = await self._run(["migrate"], environment, take, take)
        finally:
            log.close()
        if code:
            reason = readable(tail[-1]) if tail else f"exit code {code}"
            raise CommandFailedError(f"The database cannot be migrated: {reason} (log: {log.path})")

    async def build_model(self, source: str, precision: str, device: str, store: Path, environment: Mapping[str, str]) -> Path:
        """Folder of the model package; returns at once if the store has it."""
        results: deque[str] = deque(maxlen=1)
        remarks: deque[str] = deque(maxlen=5)
        progress = ProgressLines(self._console)

        def take_error(line: str) -> None:
            if line.strip() and not progress.take(line):
                remarks.append(line.strip())

        arguments = ["model", "build", source, "--precision", precision, "--device", device, "--store", str(store)]
        code = await self._run(arguments, environment, results.append, None if self._console.is_terminal else take_error)
        if code:
            detail = f": {remarks[-1].removeprefix('error: ')}" if remarks else "; the reason stands above."
            raise CommandFailedError(f"The model package of {shown_source(source)} cannot be built{detail}")
        for remark in remarks:
            self._console.say(f"model: {readable(remark)}")
        if not results or not (package := Path(results[-1].strip())).is_dir():
            output = "".join(results) or "no output"
            raise CommandFailedError(f"Building the model package of {shown_source(source)} gave no folder: {output}")
        return package

    async def end(self, seconds: float = 0.5) -> None:
        """Stop what runs; a build can be continued, a migration is one transaction."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        waiting = [asyncio.create_task(process.wait()) for process in self._running]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)
        self.kill()

    def kill(self) -> None:
        for process in self._running:
            if process.returncode is None:
                kill_group(process.pid)

    async def _run(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        take_output: Callable[[str], None],
        take_error: Callable[[str], None] | None,
    ) -> int:
        process = await asyncio.create_subprocess_exec(
            *dying_with_parent([*self._program, *arguments]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if take_error else sys.stderr,
            env=environment,
            start_new_session=True,
        )
        self._running.add(process)
        readers = []
        if process.stdout:
            readers.append(asyncio.create_task(read_lines(process.stdout, take_output)))
        if process.stderr and take_error:
            readers.append(asyncio.create_task(read_lines(process.stderr, take_error)))
        try:
            code = await process.wait()
            await asyncio.wait(readers, timeout=1)
            return code
        finally:
            for reader in readers:
                reader.cancel()
            if process.returncode is not None:
                self._running.discard(process)


class ProgressLines:
    """Where there is no terminal for a bar: the build's JSON lines as one sentence per stage, and one every 5 s."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._stage: str | None = None
        self._said_at = 0.0

    def take(self, line: str) -> bool:
        """Whether the line was one of progress."""
        try:
            fields = json.loads(line)
            stage, done, total = str(fields["stage"]), int(fields["bytes"]), fields["total"]
        except (ValueError, KeyError, TypeError):
            return False
        now = self._clock()
        if fields.get("note"):
            self._console.say(f"model: {fields['note']}")
        if stage != self._stage or now - self._said_at >= SAY_SECONDS:
            share = f" {100 * done // int(total)} %" if total else ""
            self._console.say(f"model: {stage}{share}")
            self._stage, self._said_at = stage, now
        return True
