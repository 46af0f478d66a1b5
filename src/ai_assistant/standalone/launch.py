"""How children are started so that none outlives us, not even after `kill -9`, and so that PostgreSQL works for root.

Children die with their parent (PR_SET_PDEATHSIG) and live in a session of their own, so the terminal's Ctrl-C reaches only us.
The signal is set by a tiny program between fork and exec rather than by `preexec_fn`, which is unsafe once threads exist.
PR_SET_PDEATHSIG fires when the *thread* that started the child ends: start children from the main thread only.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ai_assistant.errors import ConfigurationError

_TRAMPOLINE = """
import ctypes, os, sys
parent, number = int(sys.argv[1]), int(sys.argv[2])
ctypes.CDLL(None).prctl(1, number, 0, 0, 0)
if os.getppid() != parent:
    sys.exit(1)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def dying_with_parent(command: list[str], number: signal.Signals = signal.SIGKILL) -> list[str]:
    """`command`, started so that it gets signal `number` when this process ends in whatever way (Linux only)."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", "-c", _TRAMPOLINE, str(os.getpid()), str(int(number)), *command]


@dataclass(frozen=True)
class Account:
    """An unprivileged account for PostgreSQL, which refuses to run as root."""

    uid: int
    gid: int
    name: str
    capability: bool = True
    """Keep CAP_DAC_OVERRIDE, so that data and programs may lie in folders that only root may enter."""

    def command(self, command: list[str], number: signal.Signals = signal.SIGKILL) -> list[str]:
        """`command` as this account, dying with its parent."""
        switch = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        if self.capability:
            # Without no_setuid_fixup, access(2) would ignore the capability, and initdb asks it for the way to `postgres`.
            switch += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
        return [*switch, "--pdeathsig", number.name.removeprefix("SIG"), "--", *command]

    def can_run(self, command: list[str]) -> bool:
        result = subprocess.run(self.command(command), stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return result.returncode == 0


def account_for(folder: Path, program: list[str]) -> Account | None:
    """The account to run PostgreSQL as: None for an ordinary user, else the owner of `folder`, `postgres` or `nobody`.

    `program` is a harmless command that the account must be able to run (`postgres --version`).
    """
    if os.geteuid() != 0:
        return None
    if shutil.which("setpriv") is None:
        raise ConfigurationError(
            "PostgreSQL does not run as root, and `setpriv` (package util-linux) is missing: start ai-assistant as a user."
        )
    uid, gid, name = _identity(folder)
    for capability in (True, False):
        account = Account(uid, gid, name, capability)
        if account.can_run(program):
            return account
    raise ConfigurationError(
        f"PostgreSQL does not run as root, and this machine does not let root run it as {name}: "
        "start ai-assistant as an ordinary user, or set AI_ASSISTANT_DATABASE_URL."
    )


def _identity(folder: Path) -> tuple[int, int, str]:
    if folder.is_dir() and (owner := folder.stat()).st_uid != 0:
        return owner.st_uid, owner.st_gid, f"user {owner.st_uid}"
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return entry.pw_uid, entry.pw_gid, name
    return 65534, 65534, "nobody"
