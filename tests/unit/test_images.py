"""The Dockerfile, what is sent to its builder, its script and its health check. No image is built here."""

import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_assistant.settings import PROCESSES
from unit.dockerfile import Stage, stages

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("gateway", "worker", "bot")
CUDA = "worker-cuda"
STAGES = stages(ROOT / "images/Dockerfile")
TEXT = (ROOT / "images/Dockerfile").read_text()


@pytest.fixture(params=[*TARGETS, CUDA])
def target(request: pytest.FixtureRequest) -> Stage:
    return STAGES[request.param]


def process(target: Stage) -> str:
    return target.name.removesuffix("-cuda")


def test_an_ordinary_user_by_number(target: Stage) -> None:
    assert target.all("USER") == ["10001:10001"]


def test_ends_and_checks(target: Stage) -> None:
    assert target.all("STOPSIGNAL") == ["SIGTERM"]
    assert target.all("ENTRYPOINT") == ['["ai-assistant"]']
    assert target.all("CMD") == [f'["{process(target)}"]']
    (check,) = target.all("HEALTHCHECK")
    assert check.endswith(f'CMD ["python", "/opt/healthcheck.py", "{process(target)}"]')


def test_labels(target: Stage) -> None:
    labels = " ".join(target.all("LABEL"))
    for name in ("title", "version", "revision", "licenses"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_environment_is_known(target: Stage) -> None:
    names = re.findall(r"AI_ASSISTANT_(\w+)=", " ".join(target.all("ENV")))
    fields = PROCESSES[process(target)].model_fields | PROCESSES["up"].model_fields
    assert [name for name in names if name.lower() not in fields] == []
    assert "PYTHONUNBUFFERED=1" in " ".join(target.all("ENV"))


def test_dependencies_are_pinned_by_hash(target: Stage) -> None:
    assert f"--from={target.name}-environment /opt/ai-assistant /opt/ai-assistant" in target.all("COPY")
    environment = STAGES[f"{target.name}-environment"]
    pinned, ours = [text for text in environment.all("RUN") if "pip" in text and "install" in text]
    assert "--require-hashes" in pinned
    assert f"-r /build/{target.name}.txt" in pinned
    assert "--no-deps --no-index" in ours


def test_every_install_is_pinned_or_without_dependencies() -> None:
    for stage in STAGES.values():
        for text in stage.all("RUN"):
            for command in text.split("&&"):
                if re.search(r"pip( --python \S+)? (install|wheel) ", command):
                    assert "--require-hashes" in command or "--no-deps" in command, command


def test_base_image_is_an_argument_with_a_version() -> None:
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", TEXT, re.MULTILINE)
    assert "latest" not in TEXT
    assert re.fullmatch(r"python:3\.\d+-\S+", base), "no registry in it, and a version"
    assert {stage.base for stage in STAGES.values()} == {"${BASE_IMAGE}", "runtime", "worker-runtime"}


def test_what_is_copied_reaches_the_builder() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = {
        source
        for stage in STAGES.values()
        for arguments in stage.all("COPY")
        if not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    }
    assert [source for source in copied if not any(Path(source).match(pattern) for pattern in allowed)] == []
    assert [source for source in copied if not (ROOT / source).exists()] == []


def build(tmp_path: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """images/build.sh with a builder that only writes down how it was called."""
    for name in ("docker", "buildah"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/calls\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **settings}
    script = [str(ROOT / "images/build.sh"), *arguments]
    return subprocess.run(script, env=environment, capture_output=True, text=True, check=False)


def test_build_script(tmp_path: Path) -> None:
    assert build(tmp_path, TAG="1.2", BASE_IMAGE="own/python:3.12").returncode == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 3
    for name, call in zip(TARGETS, calls, strict=True):
        assert call.startswith("docker build --file images/Dockerfile")
        assert f"--target {name} --tag ai-assistant-{name}:1.2" in call
        assert "--build-arg BASE_IMAGE=own/python:3.12" in call


def test_the_image_for_gpus_is_built_on_request_only(tmp_path: Path) -> None:
    assert build(tmp_path, CUDA).returncode == 0
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert f"--target {CUDA} --tag ai-assistant-{CUDA}:dev" in call


def test_build_script_with_buildah_keeps_health_checks(tmp_path: Path) -> None:
    assert build(tmp_path, "bot", BUILDER="buildah").returncode == 0
    assert (tmp_path / "calls").read_text().startswith("buildah build --format docker")


def test_build_script_says_what_is_wrong(tmp_path: Path) -> None:
    result = build(tmp_path, "operator")
    assert (result.returncode, result.stderr) == (
        2,
        "error: operator is not a target: gateway, worker, worker-cuda or bot (see --help)\n",
    )
    assert "BASE_IMAGE" in build(tmp_path, "--help").stdout
    assert not (tmp_path / "calls").exists()


@pytest.fixture
def server() -> Iterator[tuple[str, list[int], list[str]]]:
    """A port, the status that it answers with, and the paths that it was asked for."""
    status, paths = [200], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status[0])
            self.end_headers()
            self.wfile.write(b"fine\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield str(http_server.server_port), status, paths
        http_server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("process", "variable"),
    [
        ("gateway", "PORT"),
        ("gateway", "AI_ASSISTANT_PORT"),
        ("worker", "AI_ASSISTANT_WORKER_METRICS_PORT"),
        ("bot", "AI_ASSISTANT_GATEWAY_URL"),
    ],
)
def test_health_check(server: tuple[str, list[int], list[str]], process: str, variable: str) -> None:
    port, status, paths = server
    value = f"http://127.0.0.1:{port}/" if process == "bot" else port
    # a proxy must not be asked for what is inside the container
    environment = {variable: value, "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-I", str(ROOT / "images/healthcheck.py"), process]

    def check(*path: str) -> int:
        return subprocess.run([*command, *path], env=environment, stdout=subprocess.DEVNULL, check=False).returncode

    assert check() == 0
    status[0] = 503
    assert check("/readyz") == 1
    assert paths == ["/livez", "/readyz"]


def test_health_check_of_a_port_where_nobody_listens() -> None:
    command = [sys.executable, "-I", str(ROOT / "images/healthcheck.py"), "gateway"]
    result = subprocess.run(command, env={"PORT": "1"}, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "refused" in result.stdout
    assert result.stderr == ""
