"""`ai-assistant up` as a process of its own, with real servers and a tiny platform: start, crash, stop, and every sentence."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from servers import Server

import ai_assistant
from ai_assistant.standalone.valkey import free_port

RUN = """
import sys
from ai_assistant.standalone.cli import run
from ai_assistant.standalone.console import Console
sys.exit(run(Console(verbose="--verbose" in sys.argv), {}, [sys.executable, sys.argv[1]]))
"""
PLATFORM = Path(__file__).with_name("standalone_platform.py")


class Up:
    """One run of `up` in a process; everything it writes is collected."""

    def __init__(self, folder: Path, data_dir: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder
        self.data_dir = data_dir
        self.port = int(environment.pop("PORT", "0")) or free_port()
        self.marker = uuid.uuid4().hex
        self._output = folder / f"output-{self.marker}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AI_ASSISTANT_")}
        kept["PYTHONPATH"] = str(Path(ai_assistant.__file__).parents[1])
        settings = {"PORT": str(self.port), "INTERNAL_PORT": "0", "AI_ASSISTANT_DATA_DIR": str(data_dir)}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(PLATFORM), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=kept | settings | {"FAKE_DIR": str(folder), "MARKER": self.marker} | environment,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def events(self) -> list[str]:
        path = self.folder / "events"
        return path.read_text().splitlines() if path.exists() else []

    def wait_for(self, pattern: str, seconds: float = 20) -> None:
        self.until(lambda: re.search(pattern, self.output) is not None, f"{pattern!r} in the output", seconds)

    def wait_for_event(self, event: str, count: int = 1) -> None:
        self.until(lambda: self.events.count(event) >= count, f"{count} times {event!r}")

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"no {what}: {self.output}"
            assert self.process.poll() is None or condition(), f"ended without {what}: {self.output}"
            time.sleep(0.02)

    def seen_by(self, name: str) -> dict[str, str]:
        environment: dict[str, str] = json.loads((self.folder / f"{name}.json").read_text())["environment"]
        return environment

    def stop(self, number: int = signal.SIGINT, *, limit: float = 5) -> int:
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout=15)
        assert time.monotonic() - began <= limit, self.output
        assert self.survivors() == []
        return code

    def survivors(self) -> list[psutil.Process]:
        """Processes of this run: they carry its marker in their environment, or work in its folder (servers overwrite theirs)."""
        return [process for process in psutil.process_iter() if process.pid != os.getpid() and self._is_mine(process)]

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return Path(process.cwd()).is_relative_to(self.data_dir) or process.environ().get("MARKER") == self.marker
        except psutil.Error:
            return False

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        psutil.wait_procs(self.survivors(), timeout=5)


Start = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `up` in this test's folders."""
    runs: list[Up] = []

    def start(*arguments: str, **environment: str) -> Up:
        runs.append(Up(tmp_path, tmp_path / "data", *arguments, **environment))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


def ask(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as response:
        return int(response.status)


def test_start_shows_one_block_and_ctrl_c_stops_in_order(start: Start) -> None:
    up = start(AI_ASSISTANT_TELEGRAM_TOKEN="1:x")
    up.wait_for("Ctrl-C stops it")
    up.wait_for_event("bot started")
    assert ask(up.port) == 200
    assert f"http://127.0.0.1:{up.port}/" in up.output
    assert str(up.data_dir / "logs") in up.output
    assert re.search(r"Starting PostgreSQL… \d+\.\d s", up.output)
    assert "model: download 50 %" in up.output
    assert "gateway | warning: gateway worries number=7" in up.output
    assert "calm" not in up.output
    assert "calm" in (up.data_dir / "logs" / "gateway.log").read_text()
    gateway, worker, bot = (up.seen_by(name) for name in ("gateway", "worker", "bot"))
    assert gateway["AI_ASSISTANT_DATABASE_URL"].startswith("postgresql://assistant@/assistant?host=")
    assert gateway["AI_ASSISTANT_ASSISTANT"] == "assistant"
    ports = (worker["AI_ASSISTANT_WORKER_METRICS_PORT"], bot["AI_ASSISTANT_TELEGRAM_HEALTH_PORT"])
    assert gateway["AI_ASSISTANT_METRICS_INCLUDE"] == ",".join(f"http://127.0.0.1:{port}/metrics" for port in ports)
    assert worker["AI_ASSISTANT_MODEL_PACKAGE"] == str(up.data_dir / "models" / "0123456789abcdef")
    assert worker["AI_ASSISTANT_DRAIN_SECONDS"] == "1.0"
    assert bot["AI_ASSISTANT_GATEWAY_URL"] == f"http://127.0.0.1:{up.port}"
    assert len(up.survivors()) >= 10
    assert up.stop() == 0
    assert up.events[-4:] == ["gateway stopping", "gateway ended", "worker stopping", "worker ended"]


def test_with_a_model_server_elsewhere_no_model_is_built(start: Start, tmp_path: Path) -> None:
    up = start(AI_ASSISTANT_REMOTE_URL="http://127.0.0.1:9/v1")
    up.wait_for("Ctrl-C stops it")
    assert "Preparing the model" not in up.output
    assert not (tmp_path / "model.json").exists()
    assert up.seen_by("worker")["AI_ASSISTANT_MODEL_PACKAGE"] == ""
    assert up.stop() == 0


def test_second_start_reuses_everything_and_sigterm_and_hangup_stop_it(start: Start) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        up = start("--verbose")
        up.wait_for("Ctrl-C stops it")
        assert "gateway | info: calm" in up.output
        assert up.stop(number) == 0


def test_terminal_interrupt_reaches_only_the_supervisor(start: Start) -> None:
    up = start()
    up.wait_for("Ctrl-C stops it")
    os.killpg(up.process.pid, signal.SIGINT)
    assert up.process.wait(timeout=5) == 0
    assert "gateway ended" in up.events
    assert up.survivors() == []


def test_lingering_child_is_killed_in_time(start: Start, tmp_path: Path) -> None:
    for name in ("gateway", "worker"):
        (tmp_path / f"slow-{name}").touch()
    up = start()
    up.wait_for("Ctrl-C stops it")
    assert up.stop() == 0


def test_second_interrupt_kills_at_once(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slow-worker").touch()
    up = start()
    up.wait_for("Ctrl-C stops it")
    up.process.send_signal(signal.SIGINT)
    up.wait_for_event("worker stopping")
    assert up.stop(limit=1.5) == 0


def test_interrupt_in_mid_build_leaves_nothing(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slow-model").touch()
    up = start()
    up.wait_for_event("model building")
    assert up.stop() == 0


def test_crashed_child_is_named_and_restarted(start: Start) -> None:
    up = start()
    up.wait_for("Ctrl-C stops it")
    for name in ("worker", "gateway"):
        next(p for p in up.survivors() if p.cmdline()[-1] == name).kill()
        up.wait_for(rf"{name} was ended by SIGKILL \(.*{name} worries.*\); it starts again in 0.5 s")
        up.wait_for(f"{name} is back")
        assert up.events.count(f"{name} started") == 2
    assert up.stop() == 0


@pytest.mark.parametrize("name", ["postgres", "valkey-server"])
def test_crashed_server_is_restarted(start: Start, name: str) -> None:
    up = start()
    up.wait_for("Ctrl-C stops it")
    children = psutil.Process(up.process.pid).children()
    next(process for process in children if process.name() == name).kill()
    up.wait_for(f"{name[:6]}.* is back")
    assert up.stop() == 0


def test_child_that_never_starts_ends_the_start_with_its_last_line(start: Start, tmp_path: Path) -> None:
    (tmp_path / "crash-worker").touch()
    up = start()
    assert up.process.wait(timeout=30) == 1
    assert "error: worker does not start: it ended with exit code 3 (error: worker is broken)" in up.output
    assert "Traceback" not in up.output
    assert up.survivors() == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("migrate", "The database cannot be migrated: error: migrate is broken"), ("model", "cannot be built: .*model is broken")],
)
def test_failed_step_is_a_sentence(start: Start, tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / f"crash-{name}").touch()
    up = start()
    assert up.process.wait(timeout=20) == 1
    assert re.search(f"error: .*{sentence}", up.output)
    assert up.survivors() == []


def test_everything_dies_with_a_killed_supervisor_and_the_next_start_works(start: Start) -> None:
    up = start()
    up.wait_for("Ctrl-C stops it")
    up.process.kill()
    up.process.wait()
    deadline = time.monotonic() + 5
    while up.survivors():
        assert time.monotonic() < deadline, up.survivors()
        time.sleep(0.05)
    again = start(PORT=str(up.port))
    again.wait_for("Ctrl-C stops it")
    assert again.stop() == 0


def test_second_supervisor_says_who_has_the_folder(start: Start) -> None:
    up = start()
    up.wait_for("Ctrl-C stops it")
    other = start()
    assert other.process.wait(timeout=10) == 1
    assert f"Another ai-assistant (pid {up.process.pid}) already uses {up.data_dir}" in other.output


@pytest.mark.parametrize("variable", ["PORT", "INTERNAL_PORT"])
def test_taken_port_is_named_with_its_holder(start: Start, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        up = start(**{variable: str(port)})
        assert up.process.wait(timeout=10) == 1
    assert re.search(rf"error: Port {port} \(.*\) is taken by pid {os.getpid()} \(.+\); set {variable}=", up.output)
    assert not (up.data_dir / "postgres").exists()


def test_external_servers_replace_the_embedded_ones(start: Start, postgres_url: str, valkey: Server) -> None:
    up = start(AI_ASSISTANT_DATABASE_URL=postgres_url, AI_ASSISTANT_REDIS_URL=valkey.url)
    up.wait_for("Ctrl-C stops it")
    assert up.seen_by("worker")["AI_ASSISTANT_REDIS_URL"] == valkey.url
    assert not (up.data_dir / "postgres").exists()
    assert up.stop() == 0


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("AI_ASSISTANT_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/db"),
        ("AI_ASSISTANT_REDIS_URL", "redis://:secret@127.0.0.1:1/0"),
    ],
)
def test_unreachable_external_server_is_a_sentence(start: Start, variable: str, url: str) -> None:
    up = start(**{variable: url})
    assert up.process.wait(timeout=20) == 1
    assert re.search(f"error: .* cannot be reached at 127.0.0.1:1 .*{variable}", up.output)
    assert "secret" not in up.output
    assert "Traceback" not in up.output
    assert up.survivors() == []


def test_wrong_setting_or_folder_is_a_sentence(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    for environment, sentence in (({"AI_ASSISTANT_TEMPERATURE": "hot"}, "AI_ASSISTANT_TEMPERATURE: "), ({}, "The data folder")):
        up = start(**environment)
        assert up.process.wait(timeout=10) == 1
        assert up.output.startswith(f"error: {sentence}")
