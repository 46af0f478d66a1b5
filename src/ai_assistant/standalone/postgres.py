"""The embedded PostgreSQL: the real server out of a wheel, on a Unix socket in a private folder, trusted by folder rights.

Knows how to prepare the data folder, which command to run and when the server is ready; who runs it is the caller's business.
"""

import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ai_assistant.errors import AssistantError, ConfigurationError, NoSpaceError
from ai_assistant.standalone.binaries import postgres_folder
from ai_assistant.standalone.launch import Account, account_for, dying_with_parent
from ai_assistant.standalone.leftovers import end_leftovers

USER = "assistant"
DATABASE = "assistant"
SOCKET_NAME = ".s.PGSQL.5432"
MAX_SOCKET_PATH = 100
"""Unix socket paths may have 107 bytes, and PostgreSQL puts `.lock` behind its own."""

OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
    "lc_messages": "C",
}


class PostgresError(AssistantError):
    """The embedded PostgreSQL cannot be started."""

    code = "postgres_failed"


class EmbeddedPostgres:
    """PostgreSQL in `data_dir`/postgres. Order of use: `prepare`, run `command`, wait for `is_ready`, send `stop_signal`."""

    name = "postgresql"
    stop_signal = signal.SIGINT
    """Fast shutdown: open sessions are ended, a checkpoint is written."""

    def __init__(self, data_dir: Path, *, options: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.folder = self.data_dir / "postgres"
        self.bin = postgres_folder()
        self._options = OPTIONS | dict(options or {})
        self._account: Account | None = None
        self._socket_dir: Path | None = None

    @property
    def socket_dir(self) -> Path:
        """Private folder of the socket: in the data folder if its path is short enough."""
        if self._socket_dir is None:
            self._socket_dir = _socket_dir(self.data_dir)
        return self._socket_dir

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@/{DATABASE}?host={self.socket_dir}"

    def prepare(self) -> None:
        """Make the data folder if there is none, and clear away what a killed run left. Blocks for about a second at first."""
        version = self._as_account_or_us([str(self.bin / "postgres"), "--version"], probe=True)
        found = re.search(r"\d+", version)
        self._check_version(found[0] if found else "")
        if self._account:
            os.chown(self.socket_dir, self._account.uid, self._account.gid)
        if (self.folder / "PG_VERSION").is_file():
            self._clear_stale()
        else:
            self._initialise()

    def command(self) -> list[str]:
        """The server in the foreground; it logs to stderr and ends quickly but cleanly when its parent dies."""
        options = self._options | {"unix_socket_directories": str(self.socket_dir)}
        command = [str(self.bin / "postgres"), "-D", str(self.folder)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return self._wrapped(command, signal.SIGINT)

    def is_ready(self, pid: int) -> bool:
        """Whether the server with this process id accepts connections (what pg_ctl looks at)."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _check_version(self, ours: str) -> None:
        try:
            theirs = (self.folder / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return
        if theirs != ours:
            raise ConfigurationError(
                f"{self.folder} was made by PostgreSQL {theirs}, and this version of ai-assistant has PostgreSQL {ours}: "
                f"install the version that made it, or move the folder away to start empty."
            )

    def _clear_stale(self) -> None:
        pid_file = self.folder / "postmaster.pid"
        if pid_file.exists():
            end_leftovers(self.folder, "postgres")
            # The number inside may belong to another program by now, and PostgreSQL would refuse to start.
            pid_file.unlink(missing_ok=True)
        for leftover in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
            (self.socket_dir / leftover).unlink(missing_ok=True)

    def _initialise(self) -> None:
        """initdb beside, then rename: a killed first start never leaves half a cluster."""
        if self.folder.is_dir() and any(self.folder.iterdir()):
            raise ConfigurationError(f"{self.folder} is not empty and not a PostgreSQL data folder: move it away.")
        draft = self.data_dir / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if self._account:
            os.chown(draft, self._account.uid, self._account.gid)
        initdb = [str(self.bin / "initdb"), "-D", str(draft), "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C"]
        initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        if self._options.get("fsync") == "off":
            initdb.append("--no-sync")
        self._as_account_or_us(initdb)
        single = [str(self.bin / "postgres"), "--single", "-D", str(draft), "-c", "exit_on_error=true", "postgres"]
        self._as_account_or_us(single, stdin=f'CREATE DATABASE "{DATABASE}";\n')
        if self.folder.is_dir():
            self.folder.rmdir()
        draft.rename(self.folder)

    def _wrapped(self, command: list[str], number: signal.Signals = signal.SIGKILL) -> list[str]:
        return self._account.command(command, number) if self._account else dying_with_parent(command, number)

    def _as_account_or_us(self, command: list[str], *, stdin: str = "", probe: bool = False) -> str:
        if probe:
            self._account = account_for(self.folder, command)
        environment = os.environ | {"LC_ALL": "C", "TZ": "UTC"}
        result = subprocess.run(
            self._wrapped(command),
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
            env=environment,
            start_new_session=True,
        )
        if result.returncode == 0:
            return result.stdout
        text = result.stderr.strip() or result.stdout.strip()
        if "No space left on device" in text or "Disk quota exceeded" in text:
            raise NoSpaceError(f"The disk of {self.data_dir} is full: PostgreSQL needs about 150 MB to begin with.")
        reason = next((line for line in text.splitlines() if re.search("error|FATAL|PANIC|denied", line)), text[-300:])
        hint = ""
        if self._account and not self._account.capability:
            hint = f" (it runs as {self._account.name}, who must be able to enter that folder; or start ai-assistant as a user)"
        raise PostgresError(f"PostgreSQL cannot use {self.folder}: {reason.strip() or f'exit code {result.returncode}'}{hint}")


def _socket_dir(data_dir: Path) -> Path:
    near = data_dir / "run"
    if len(os.fsencode(near / SOCKET_NAME)) <= MAX_SOCKET_PATH:
        near.mkdir(mode=0o700, parents=True, exist_ok=True)
        near.chmod(0o700)
        return near
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    far = Path(tempfile.gettempdir()) / f"ai-assistant-{os.geteuid()}-{digest}"
    far.mkdir(mode=0o700, exist_ok=True)
    status = far.lstat()
    # Somebody else may have made it first; root's may belong to the account of PostgreSQL since the last run.
    if not stat.S_ISDIR(status.st_mode) or stat.S_IMODE(status.st_mode) != 0o700 or os.geteuid() not in (0, status.st_uid):
        return Path(tempfile.mkdtemp(prefix="ai-assistant-"))
    return far
