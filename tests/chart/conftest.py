"""Helm for the tests of the chart, and what it renders."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart.rendered import CHART, HelmError, Render, Rendered
from cluster.binaries import Unavailable, helm


def program(find: Callable[[], Path]) -> Path:
    try:
        return find()
    except Unavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"THE CHART IS NOT TESTED: {error}")


@pytest.fixture(scope="session")
def helm_program() -> Path:
    return program(helm)


@pytest.fixture(scope="session")
def run_helm(helm_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    home = tmp_path_factory.mktemp("helm")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}

    def run(*arguments: str | Path, stdin: str | None = None) -> str:
        command = [str(helm_program), *map(str, arguments)]
        done = subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise HelmError(done.stderr + done.stdout)
        return done.stdout

    return run


@pytest.fixture(scope="session")
def render(run_helm: Callable[..., str]) -> Render:
    """What the chart renders with these values; raises HelmError with what it says."""
    known: dict[str, Rendered] = {}

    def run(
        values: Mapping[str, Any] | None = None, *, chart: Path = CHART, release: str = "ai", namespace: str = "talk"
    ) -> Rendered:
        key = json.dumps([values, str(chart), release, namespace])
        if key not in known:
            arguments = ("template", release, chart, "--namespace", namespace, "--kube-version", "1.35.0", "--values", "-")
            text = run_helm(*arguments, stdin=yaml.safe_dump(dict(values or {})))
            known[key] = Rendered.parse(text)
        return known[key]

    return run
