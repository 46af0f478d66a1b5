"""In a container a command is process 1, and SIGTERM must end it also before it has handlers of its own."""

import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest

NEW_PROCESS_SPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


def can_be_process_one() -> bool:
    try:
        return subprocess.run([*NEW_PROCESS_SPACE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_be_process_one(), reason="this machine makes no process spaces for ordinary users")
def test_sigterm_ends_process_one() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        environment = {**os.environ, "AI_ASSISTANT_DATABASE_URL": url}
        command = [*NEW_PROCESS_SPACE, sys.executable, "-m", "ai_assistant", "migrate"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            silent.settimeout(20)
            connection, _ = silent.accept()
            with connection:
                psutil.Process(process.pid).children()[0].send_signal(signal.SIGTERM)
                assert process.wait(10) == 128 + signal.SIGTERM
