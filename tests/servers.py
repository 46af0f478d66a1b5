"""Real servers for tests: PostgreSQL and Valkey out of the wheels, once per session, to be stopped, frozen or emptied.

`postgres`, `postgres_url` and `valkey` are shared by the session: a test that stops one starts it again. A test that wants
its own takes `own_postgres` or `own_valkey`, or the context managers `started_postgres(folder)` and `started_valkey(folder)`.
"""

import contextlib
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import psutil
import pytest

from ai_assistant.standalone.binaries import postgres_folder
from ai_assistant.standalone.postgres import EmbeddedPostgres
from ai_assistant.standalone.valkey import EmbeddedValkey

# Servers die with the thread that started them, so one thread that lives as long as the process starts them all.
_starter = ThreadPoolExecutor(1, thread_name_prefix="server-starter")

START_SECONDS = 30


class Server:
    """One embedded server that a test can stop, kill, freeze and start again; its URL stays the same."""

    def __init__(self, embedded: EmbeddedPostgres | EmbeddedValkey, log: Path) -> None:
        self.embedded = embedded
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.embedded.url

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it serves; does nothing if it runs."""
        if self.is_running:
            return
        self.embedded.prepare()
        with self.log.open("ab") as log:
            self._process = _starter.submit(
                lambda: subprocess.Popen(
                    self.embedded.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            ).result()
        deadline = time.monotonic() + START_SECONDS
        while not self.embedded.is_ready(self.pid):
            assert self.is_running, f"{self.embedded.name} ended:\n{self.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"{self.embedded.name} is not ready:\n{self.log.read_text()[-2000:]}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it cleanly; does nothing if it does not run."""
        self._end(self.embedded.stop_signal)

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        for process in self._processes():
            process.suspend()

    def resume(self) -> None:
        for process in self._processes():
            process.resume()

    def flush(self) -> None:
        """Valkey: FLUSHALL."""
        assert isinstance(self.embedded, EmbeddedValkey)
        command = f"AUTH {self.embedded.password}\r\nFLUSHALL\r\nQUIT\r\n"
        with socket.create_connection(("127.0.0.1", self.embedded.port), timeout=5) as connection:
            connection.sendall(command.encode())
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.count(b"+OK") >= 2, answer

    def _processes(self) -> list[psutil.Process]:
        main = psutil.Process(self.pid)
        return [main, *main.children(recursive=True)]

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        if self.is_running:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.resume()
            self._process.send_signal(number)
        self._process.wait(timeout=START_SECONDS)
        self._process = None


@contextlib.contextmanager
def started_postgres(folder: Path, **options: str) -> Iterator[Server]:
    """A PostgreSQL of one's own in `folder`; `options` are server settings. Nothing is synced to disk."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"} | options
    server = Server(EmbeddedPostgres(folder, options=settings), folder / "postgresql.log")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def started_valkey(folder: Path) -> Iterator[Server]:
    """A Valkey of one's own in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(EmbeddedValkey(folder), folder / "valkey.log")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def psql(url: str, statement: str) -> str:
    """Run one SQL statement; returns psql's bare output."""
    parts = urlsplit(url)
    command = [str(postgres_folder() / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
    command += ["-h", parse_qs(parts.query)["host"][0], "-U", parts.username or "assistant", "-d", parts.path.strip("/")]
    result = subprocess.run([*command, "-c", statement], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def fresh_database(url: str, template: str | None = None) -> str:
    """Make a new database on the server of `url` and return its URL: empty, or a copy of the database URL `template`.

    A template must have no open connections. Copying a migrated one takes about 50 ms, migrating much longer.
    """
    name = f"t_{uuid.uuid4().hex[:12]}"
    source = urlsplit(template).path.strip("/") if template else "template0"
    maintenance = urlunsplit(urlsplit(url)._replace(path="/postgres"))
    psql(maintenance, f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The session's PostgreSQL."""
    with started_postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: Server) -> str:
    """URL of the session's PostgreSQL; take `fresh_database(postgres_url)` for a database of your own."""
    return postgres.url


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The session's Valkey; `flush()` it before relying on it being empty."""
    with started_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Server]:
    """A PostgreSQL for one test (about 0.8 s)."""
    with started_postgres(tmp_path / "postgres") as server:
        yield server


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Server]:
    """A Valkey for one test (about 0.1 s)."""
    with started_valkey(tmp_path / "valkey") as server:
        yield server
