"""The platform as real processes on loopback: gateway and workers on the test's PostgreSQL and Valkey."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import Server, fresh_database
from strict_reader import StrictReader

LEASE_SECONDS = 3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One process of the platform."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], log: Path, ready_url: str) -> None:
        self.name, self.log, self._ready_url = name, log, ready_url
        self._arguments, self._environment = arguments, environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> "Process":
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "ai_assistant", *self._arguments]
            self._process = subprocess.Popen(command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(self._ready_url, timeout=2).status_code == 200:
                    return
            assert self.is_running, f"{self.name} ended:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{self.name} is not ready:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def stop(self, seconds: float = 30) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        if self.is_running:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.signal(signal.SIGCONT)


class Platform:
    """Starts processes and speaks HTTP to the gateway."""

    def __init__(self, folder: Path, postgres: Server, valkey: Server, package: Path | None, **environment: str) -> None:
        self.folder, self.postgres, self.valkey, self.package = folder, postgres, valkey, package
        self.database_url = fresh_database(postgres.url)
        valkey.flush()
        self.port, self.internal_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.internal_url = f"http://127.0.0.1:{self.internal_port}"
        self._environment = environment
        self._processes: list[Process] = []
        subprocess.run([sys.executable, "-m", "ai_assistant", "migrate"], env=self.environment(), check=True, capture_output=True)
        self.client = httpx.Client(base_url=self.url, timeout=70)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "AI_ASSISTANT_DATABASE_URL": self.database_url,
            "AI_ASSISTANT_REDIS_URL": self.valkey.url,
            "AI_ASSISTANT_LEASE_SECONDS": str(LEASE_SECONDS),
            "AI_ASSISTANT_LOG_FORMAT": "json",
            **self._environment,
            **more,
        }

    def gateway(self, *, wait: bool = True) -> Process:
        """Start a gateway on this platform's ports."""
        environment = self.environment(
            PORT=str(self.port), INTERNAL_PORT=str(self.internal_port), AI_ASSISTANT_ASSISTANT="assistant"
        )
        return self._start("gateway", ["gateway"], environment, f"{self.url}/readyz", wait=wait)

    def worker(self, name: str = "worker-1", **more: str) -> Process:
        """Start a worker called `name`."""
        port = free_port()
        environment = self.environment(
            AI_ASSISTANT_MODEL_PACKAGE=str(self.package or ""),
            AI_ASSISTANT_WORKER_ID=name,
            AI_ASSISTANT_WORKER_METRICS_PORT=str(port),
            AI_ASSISTANT_DRAIN_SECONDS="0",
            **more,
        )
        return self._start(name, ["worker"], environment, f"http://127.0.0.1:{port}/readyz")

    def _start(
        self, name: str, arguments: list[str], environment: dict[str, str], ready_url: str, *, wait: bool = True
    ) -> Process:
        process = Process(name, arguments, environment, self.folder / f"{name}.log", ready_url)
        return self.adopt(process).start(wait=wait)

    def adopt(self, process: Process) -> Process:
        """Stop it with all others, and show its log when a test fails."""
        self._processes.append(process)
        return process

    def ask(self, message: str, **body: Any) -> dict[str, Any]:
        """POST /api/chat; returns the 202's body."""
        response = self.client.post("/api/chat", json={"message": message, **body})
        assert response.status_code == 202, response.text
        result: dict[str, Any] = response.json()
        return result

    def status(self, task_id: str, wait: int = 0) -> dict[str, Any]:
        response = self.client.get(f"/api/status/{task_id}", params={"wait": wait})
        assert response.status_code == 200, response.text
        result: dict[str, Any] = response.json()
        return result

    def answer(self, message: str, **body: Any) -> dict[str, Any]:
        """Ask and wait for the end."""
        return self.status(self.ask(message, **body)["task_id"], wait=60)

    def read(self, task_id: str) -> StrictReader:
        reader = StrictReader(self.url, task_id)
        reader.start()
        return reader

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-2500:]}" for path in sorted(self.folder.glob("*.log")))

    def close(self) -> None:
        self.client.close()
        for process in reversed(self._processes):
            if process.is_running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.stop(10)


@pytest.fixture
def platform(tmp_path: Path, postgres: Server, valkey: Server, demo_package: Path) -> Iterator[Platform]:
    """Nothing runs yet: the test starts gateway and workers."""
    made = Platform(tmp_path, postgres, valkey, demo_package)
    try:
        yield made
    except BaseException:
        sys.stderr.write(made.logs())
        raise
    finally:
        made.close()
