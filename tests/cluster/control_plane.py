"""etcd, kube-apiserver and controller-manager for tests: real ones, on free ports of loopback, all of it below one folder."""

import contextlib
import ctypes
import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from cluster.certificates import Authority

READY_SECONDS = 60
_AUDIT = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}


_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Nothing is left behind even where the tests themselves are killed."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ControlPlane:
    """The servers of one cluster; a test may stop, kill and start each of them."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.server = f"https://127.0.0.1:{(port := free_port())}"
        self._port = port
        self._etcd, self._etcd_peer = free_port(), free_port()
        self._controllers = free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.start_seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(folder / "pki")
        self.authority.issue("apiserver", "/CN=kube-apiserver")
        self.authority.issue("admin", "/O=system:masters/CN=admin")
        self.authority.keypair("accounts")
        (folder / "audit-policy.yaml").write_text(yaml.dump(_AUDIT))
        key = self.authority.folder
        self.admin = self.kubeconfig(
            "admin", {"client-certificate": str(key / "admin.crt"), "client-key": str(key / "admin.key")}
        )

    def start(self) -> None:
        """Start all of them, and wait until they serve."""
        self._start("etcd")
        self.start_apiserver()
        self._start("kube-controller-manager")

    def start_apiserver(self) -> None:
        self._start("kube-apiserver")
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            assert self._processes["kube-apiserver"].poll() is None, self.log("kube-apiserver")
            assert time.monotonic() < deadline, f"no answer within {READY_SECONDS} s\n{self.log('kube-apiserver')}"
            time.sleep(0.05)

    def stop_apiserver(self, how: int = signal.SIGKILL) -> None:
        """As after a crash; SIGTERM waits for open requests."""
        self._end("kube-apiserver", how)

    @contextlib.contextmanager
    def apiserver_stopped(self) -> Iterator[None]:
        """An outage as long as the block; afterwards it serves again."""
        self.stop_apiserver()
        try:
            yield
        finally:
            self.start_apiserver()

    def stop(self) -> None:
        for name in reversed(list(self._processes)):
            self._end(name, signal.SIGKILL)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.server}/readyz", context=self.authority.context("admin"), timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """kubectl as admin; `given` is its standard input."""
        command = [str(self.programs / "kubectl"), "--kubeconfig", str(self.admin), *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done

    def apply(
        self, *objects: Mapping[str, Any], namespace: str | None = None, dry_run: bool = False, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """`kubectl apply`, server-side."""
        text = "---\n".join(yaml.dump(dict(each)) for each in objects)
        flags = [*(["--namespace", namespace] if namespace else []), *(["--dry-run=server"] if dry_run else [])]
        return self.kubectl("apply", "--server-side", "--force-conflicts", *flags, "-f", "-", given=text, check=check)

    def kubeconfig(self, name: str, user: Mapping[str, str]) -> Path:
        """Writes a kubeconfig for that user."""
        path = self.folder / f"{name}.kubeconfig"
        cluster = {"server": self.server, "certificate-authority": str(self.authority.folder / "ca.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": name, "user": dict(user)}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": name}}],
            "current-context": "tests",
        }
        path.write_text(yaml.dump(config))
        return path

    def account_kubeconfig(self, namespace: str, account: str) -> Path:
        """A kubeconfig with a token of that ServiceAccount, which must exist."""
        token = self.kubectl("create", "token", account, "--namespace", namespace, "--duration", "2h").stdout.strip()
        return self.kubeconfig(f"{namespace}-{account}", {"token": token})

    def audit(
        self, *, verbs: tuple[str, ...] = (), user: str | None = None, namespace: str | None = None
    ) -> list[dict[str, Any]]:
        """Requests that were answered so far, oldest first, by verb, end of the user's name and namespace."""
        events = []
        for line in (self.folder / "audit.log").read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # the last line may be half written
                events.append(json.loads(line))
        return [
            event
            for event in events
            if (not verbs or event["verb"] in verbs)
            and (user is None or event["user"]["username"].endswith(user))
            and (namespace is None or event.get("objectRef", {}).get("namespace") == namespace)
        ]

    def _start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [str(self.programs / name), *self._arguments(name)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def _end(self, name: str, how: int) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.send_signal(how)
            process.wait(60)

    def _arguments(self, name: str) -> list[str]:
        pki = self.authority.folder
        etcd, peer = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._etcd_peer}"
        flags: dict[str, dict[str, str]] = {
            "etcd": {
                "data-dir": str(self.folder / "etcd"),
                "listen-client-urls": etcd,
                "advertise-client-urls": etcd,
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": f"default={peer}",
                "unsafe-no-fsync": "true",
            },
            "kube-apiserver": {
                "etcd-servers": etcd,
                "bind-address": "127.0.0.1",
                "advertise-address": "127.0.0.1",
                "secure-port": str(self._port),
                "tls-cert-file": f"{pki}/apiserver.crt",
                "tls-private-key-file": f"{pki}/apiserver.key",
                "client-ca-file": f"{pki}/ca.crt",
                "service-account-key-file": f"{pki}/accounts.pub",
                "service-account-signing-key-file": f"{pki}/accounts.key",
                "service-account-issuer": "https://kubernetes.default.svc",
                "service-cluster-ip-range": "10.96.0.0/16",
                "authorization-mode": "Node,RBAC",
                "endpoint-reconciler-type": "none",
                "kubelet-preferred-address-types": "InternalIP",
                "kubelet-client-certificate": f"{pki}/admin.crt",
                "kubelet-client-key": f"{pki}/admin.key",
                "audit-policy-file": str(self.folder / "audit-policy.yaml"),
                "audit-log-path": str(self.folder / "audit.log"),
            },
            "kube-controller-manager": {
                "kubeconfig": str(self.admin),
                "service-account-private-key-file": f"{pki}/accounts.key",
                "root-ca-file": f"{pki}/ca.crt",
                "use-service-account-credentials": "true",
                "leader-elect": "false",
                # the node of these tests sends no heartbeat
                "controllers": "*,-node-lifecycle-controller,-taint-eviction-controller,-pod-garbage-collector-controller",
                "bind-address": "127.0.0.1",
                "secure-port": str(self._controllers),
            },
        }
        return [f"--{flag}={value}" for flag, value in flags[name].items()]
