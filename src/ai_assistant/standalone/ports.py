"""Whether a port is free, before anything is started, and who has it if not."""

import errno
import socket

import psutil  # type: ignore[import-untyped]

from ai_assistant.errors import ConfigurationError
from ai_assistant.standalone.valkey import free_port


def chosen_port(host: str, port: int, variable: str, purpose: str) -> int:
    """`port`, or a free one if it is 0. Raises ConfigurationError with a sentence if it cannot be listened on."""
    if port == 0:
        return free_port()
    try:
        _try_listen(host, port)
    except PermissionError as error:
        raise ConfigurationError(f"Port {port} ({purpose}) needs special rights; set {variable} to one above 1023.") from error
    except socket.gaierror as error:
        raise ConfigurationError(f"AI_ASSISTANT_HOST={host} is not an address of this machine.") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigurationError(f"AI_ASSISTANT_HOST={host} is not an address of this machine.") from error
        raise ConfigurationError(
            f"Port {port} ({purpose}) is taken{_holder(port)}; set {variable}=… to another one, {free_port()} is free."
        ) from error
    return port


def _try_listen(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass
    return ""
