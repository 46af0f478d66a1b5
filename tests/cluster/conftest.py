"""A cluster per session and a namespace per test."""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.binaries import Unavailable, kubernetes_folder
from cluster.control_plane import ControlPlane
from cluster.kubelet_double import KubeletDouble

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The running servers, with the CRD; whoever stops one starts it again."""
    try:
        programs = kubernetes_folder()
    except Unavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"The cluster's programs cannot be had: {error}", pytrace=False)
        pytest.skip(f"THE TESTS AGAINST A REAL KUBERNETES API ARE SKIPPED: {error}")
    plane = ControlPlane(programs, tmp_path_factory.mktemp("cluster"))
    try:
        started = time.monotonic()
        plane.start()
        plane.start_seconds = time.monotonic() - started
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "charts/ai-assistant/crds/assistants.yaml"))
        plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/assistants.ai-assistant.dev")
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def kubelet(control_plane: ControlPlane) -> Iterator[KubeletDouble]:
    """One node for all pods; `kubelet.script(namespace, labels, behaviour)` says how they fare."""
    double = KubeletDouble(control_plane)
    double.start()
    yield double
    double.stop()
    assert not double.errors


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")
