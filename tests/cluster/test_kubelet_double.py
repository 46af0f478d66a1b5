"""The double does what a scheduler and a kubelet do, and what the API server and the controllers believe."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cluster import pod_states
from cluster.control_plane import ControlPlane
from cluster.kubelet_double import KubeletDouble

LABELS = {"app": "w"}


def pod_template() -> dict[str, Any]:
    return {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "w", "image": "x"}]}}


def deployment(replicas: int) -> dict[str, Any]:
    spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": pod_template()}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": spec}


def job() -> dict[str, Any]:
    template = pod_template()
    template["spec"]["restartPolicy"] = "Never"
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w"}, "spec": {"backoffLimit": 0, "template": template}}


def pods(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(plane.kubectl("get", "pods", "--namespace", namespace, "-o", "json").stdout)["items"]
    return found


def until(check: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def waiting_reason(plane: ControlPlane, namespace: str) -> str:
    states = [entry["state"] for pod in pods(plane, namespace) for entry in pod["status"].get("containerStatuses", ())]
    return next((state["waiting"]["reason"] for state in states if "waiting" in state), "")


def test_a_deployment_becomes_available_and_goes(control_plane: ControlPlane, namespace: str, kubelet: KubeletDouble) -> None:
    control_plane.apply(deployment(3), namespace=namespace)
    control_plane.kubectl("wait", "deployment/w", "--for=condition=Available", "--timeout=20s", "--namespace", namespace)
    assert {pod["spec"]["nodeName"] for pod in pods(control_plane, namespace)} == {"double"}
    control_plane.kubectl("scale", "deployment/w", "--replicas=0", "--namespace", namespace)
    until(lambda: not pods(control_plane, namespace))


def test_ready_in_a_moment(control_plane: ControlPlane, namespace: str, kubelet: KubeletDouble) -> None:
    """Time between a pod's creation and its readiness, over the watch of the double itself."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": LABELS}, "spec": pod_template()["spec"]}
    control_plane.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}, namespace=namespace)
    started = time.monotonic()
    control_plane.apply(pod, namespace=namespace)
    control_plane.kubectl("wait", "pod/p", "--for=condition=Ready", "--timeout=20s", "--namespace", namespace)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (pod_states.image_pull_error(), "ImagePullBackOff"),
        (pod_states.image_pull_error(back_off=False), "ErrImagePull"),
        (pod_states.crash_loop(), "CrashLoopBackOff"),
        (pod_states.out_of_memory(), "CrashLoopBackOff"),
        (pod_states.config_error(), "CreateContainerConfigError"),
    ],
)
def test_faults_show_and_end(
    control_plane: ControlPlane, namespace: str, kubelet: KubeletDouble, behaviour: pod_states.Behaviour, reason: str
) -> None:
    kubelet.script(namespace, LABELS, behaviour)
    control_plane.apply(deployment(1), namespace=namespace)
    until(lambda: waiting_reason(control_plane, namespace) == reason)
    kubelet.script(namespace, LABELS, pod_states.ready())
    control_plane.kubectl("wait", "deployment/w", "--for=condition=Available", "--timeout=20s", "--namespace", namespace)


def test_a_pod_that_fits_nowhere_stays_pending_with_an_event(
    control_plane: ControlPlane, namespace: str, kubelet: KubeletDouble
) -> None:
    kubelet.script(namespace, LABELS, pod_states.unschedulable("no room"))
    control_plane.apply(deployment(1), namespace=namespace)
    arguments = ["get", "events", "--namespace", namespace, "--field-selector", "reason=FailedScheduling", "-o", "name"]
    until(lambda: control_plane.kubectl(*arguments).stdout)
    assert "nodeName" not in pods(control_plane, namespace)[0]["spec"]


def test_jobs_end_and_leave_their_word(control_plane: ControlPlane, namespace: str, kubelet: KubeletDouble) -> None:
    kubelet.script(namespace, LABELS, pod_states.failed('{"error": "NoSpace"}').after(0.2).printing("one\ntwo\n"))
    control_plane.apply(job(), namespace=namespace)
    control_plane.kubectl("wait", "job/w", "--for=condition=Failed", "--timeout=20s", "--namespace", namespace)
    (pod,) = pods(control_plane, namespace)
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == '{"error": "NoSpace"}'
    assert control_plane.kubectl("logs", "job/w", "--tail=1", "--namespace", namespace).stdout == "two\n"


def test_a_pod_that_drains_takes_its_time(control_plane: ControlPlane, namespace: str, kubelet: KubeletDouble) -> None:
    kubelet.script(namespace, LABELS, pod_states.ready().draining(2))
    control_plane.apply(deployment(1), namespace=namespace)
    control_plane.kubectl("wait", "deployment/w", "--for=condition=Available", "--timeout=20s", "--namespace", namespace)
    started = time.monotonic()
    control_plane.kubectl("delete", "pod", "-l", "app=w", "--namespace", namespace)
    assert time.monotonic() - started > 1.5


def test_survives_an_outage_of_the_api_server(control_plane: ControlPlane, namespace: str, kubelet: KubeletDouble) -> None:
    with control_plane.apiserver_stopped():
        assert not control_plane.is_ready()
    control_plane.apply(deployment(2), namespace=namespace)
    control_plane.kubectl("wait", "deployment/w", "--for=condition=Available", "--timeout=60s", "--namespace", namespace)
