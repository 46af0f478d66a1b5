"""The folder outside the tree with everything that the rivals need; it survives between runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.status import Status

from ai_assistant.standalone.launch import dying_with_parent

_SAY_SECONDS = 15.0


class SetupError(Exception):
    """A rival cannot be set up here; the message says why and what would help."""


class Home:
    """Steps that are done are marked by what they were done from, so a step runs again when that changes or it was killed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.console = Console(stderr=True)
        for folder in (self.logs, self.root / "done"):
            folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def default(cls) -> Home:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(os.environ.get("AI_ASSISTANT_BENCH_HOME") or Path(base) / "ai-assistant-bench"))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the home; raises ValueError while another run does, for both would measure each other."""
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ValueError(f"Another `make bench` is at work in {self.root}; wait until it is done.") from error
            yield

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def python(self, environment: str) -> Path:
        return self.root / environment / "bin" / "python"

    def once(self, name: str, recipe: str, make: Callable[[], None], product: Path) -> None:
        """Calls `make` unless it has succeeded with the same recipe before and what it made is still there."""
        mark = self.root / "done" / name
        if product.exists() and mark.is_file() and mark.read_text() == recipe:
            return
        mark.unlink(missing_ok=True)
        make()
        mark.with_suffix(".new").write_text(recipe)
        mark.with_suffix(".new").rename(mark)

    def clear(self, name: str) -> Path:
        """An absent path in the home, whatever a killed run left there."""
        path = self.root / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def run(self, title: str, command: list[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Runs a program with its output in a log file and its last line on the terminal; raises SetupError when it fails."""
        log = self.logs / f"setup-{title.split(',')[0].replace(' ', '-').replace('/', '-')}.log"
        started = said = time.monotonic()
        with log.open("wb") as output, self.busy(title) as spinner:
            if shutil.which(command[0]) is None:
                raise SetupError(f"{command[0]} cannot be started: there is no such program.")
            # A compiler that outlives a killed run would meet the next run's in the same folder.
            dying = dying_with_parent([str(part) for part in command], signal.SIGTERM)
            process = subprocess.Popen(dying, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
            try:
                while process.poll() is None:
                    time.sleep(0.2)
                    elapsed = f"{time.monotonic() - started:.0f} s"
                    if spinner is not None:
                        spinner.update(f"{title} ({elapsed}) [dim]{_escaped(last_line(log))}")
                    elif time.monotonic() - said > _SAY_SECONDS:
                        said = time.monotonic()
                        self.say(f"{title} ({elapsed}): {last_line(log)}")
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if process.returncode:
            raise SetupError(f"{title} failed with exit code {process.returncode} ({last_line(log)}); all of it: {log}")
        if time.monotonic() - started > 2:
            self.say(f"{title}: done in {time.monotonic() - started:.0f} s")

    def busy(self, doing: str) -> AbstractContextManager[Status | None]:
        """A spinner on a terminal; it turns slowly, for it may do so beside a measurement."""
        return self.console.status(_escaped(doing), refresh_per_second=1) if self.console.is_terminal else nullcontext()

    def say(self, sentence: str) -> None:
        self.console.print(_escaped(sentence), highlight=False, soft_wrap=True)


def last_line(log: Path, length: int = 160) -> str:
    """The last line of a log that is not empty, shortened."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 4096))
            lines = stream.read().decode(errors="replace").replace("\r", "\n").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:length] for line in reversed(lines) if line.strip()), "")


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def tree_environment() -> dict[str, str]:
    """For processes of this tree: its sources first, and no setting of the person who runs this."""
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests.parent / "src"), str(tests)])
    return rival_environment() | {"PYTHONPATH": path}


def rival_environment() -> dict[str, str]:
    """For processes of another virtual environment: of this tree, only the modules of the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AI_ASSISTANT_", "PORT", "INTERNAL_PORT"))}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**kept, **offline, "PYTHONPATH": str(Path(__file__).parents[1])}


OWN_PYTHON = Path(sys.executable)
