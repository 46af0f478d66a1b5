"""What the CRD gives people: defaults, columns, explanations and the scale subresource."""

import json
from typing import Any

from cluster.assistants import EVERYTHING, HUB, assistant
from cluster.control_plane import ControlPlane

from ai_assistant_operator.spec import Assistant

NAME = "assistants.ai-assistant.dev"


def stored(plane: ControlPlane, namespace: str, name: str = "helper") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plane.kubectl("get", "asst", name, "--namespace", namespace, "-o", "json").stdout)
    return found


def test_starts_within_ten_seconds(control_plane: ControlPlane) -> None:
    assert control_plane.start_seconds < 10


def test_the_schema_is_structural_and_established(control_plane: ControlPlane) -> None:
    definition = json.loads(control_plane.kubectl("get", "crd", NAME, "-o", "json").stdout)
    conditions = {condition["type"]: condition["status"] for condition in definition["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions


def test_defaults_of_the_api_are_those_of_the_models(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(assistant(HUB), namespace=namespace)
    body = stored(control_plane, namespace)
    without_defaults = {**body, "spec": HUB}
    assert Assistant.parse(body).spec == Assistant.parse(without_defaults).spec
    assert body["spec"]["scaling"] == {"minReplicas": 0, "maxReplicas": 1, "targetQueueDepth": 5, "idleSeconds": 300}
    assert "replicas" not in body["spec"]


def test_what_is_written_is_what_is_read(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(assistant(EVERYTHING), namespace=namespace)
    found = Assistant.parse(stored(control_plane, namespace))
    assert found.spec.telegram is not None
    assert found.spec.telegram.token_secret_ref.key == "token"
    assert found.spec.telegram.admins == (12345678901,)
    assert found.spec.accelerator.gpus == 2
    assert found.spec.rollout.max_unavailable == "25%"
    assert found.spec.resources.requests == {"cpu": 2, "memory": "4Gi"}
    assert (found.name, found.namespace, found.generation, found.deletion) == ("helper", namespace, 1, None)


def test_columns_tell_the_state(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(assistant(HUB), namespace=namespace)
    status = {
        "phase": "Ready",
        "readyReplicas": 1,
        "desiredReplicas": 2,
        "queue": {"depth": 7, "oldestSeconds": 3.5},
        "model": {"source": "hf://org/name"},
    }
    patch = ["patch", "asst", "helper", "--namespace", namespace, "--subresource", "status", "--type", "merge"]
    control_plane.kubectl(*patch, "-p", json.dumps({"status": status}))
    header, row = control_plane.kubectl("get", "asst", "--namespace", namespace).stdout.splitlines()
    assert header.split() == ["NAME", "PHASE", "MODEL", "READY", "DESIRED", "QUEUE", "OLDEST", "AGE"]
    assert row.split()[:-1] == ["helper", "Ready", "hf://org/name", "1", "2", "7", "3"]


def test_explain_describes_every_field(control_plane: ControlPlane) -> None:
    told = control_plane.kubectl("explain", "assistant.spec", "--recursive=false").stdout
    assert "What is wanted." in told
    assert "A fixed number of workers, by hand or by an autoscaler" in " ".join(told.split())
    definition = json.loads(control_plane.kubectl("get", "crd", NAME, "-o", "json").stdout)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert undescribed(schema) == ["metadata"]


def undescribed(schema: dict[str, Any], path: str = "") -> list[str]:
    fields = schema.get("properties", {}) | schema.get("items", {}).get("properties", {})
    found = []
    for name, field in fields.items():
        where = f"{path}.{name}".removeprefix(".")
        found += ([] if field.get("description") else [where]) + undescribed(field, where)
    return found


def test_scale_sets_replicas_and_removing_them_is_possible(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(assistant({**HUB, "replicas": 0}), namespace=namespace)
    control_plane.kubectl("scale", "asst/helper", "--replicas", "3", "--namespace", namespace)
    assert stored(control_plane, namespace)["spec"]["replicas"] == 3
    remove = json.dumps([{"op": "remove", "path": "/spec/replicas"}])
    control_plane.kubectl("patch", "asst", "helper", "--namespace", namespace, "--type", "json", "-p", remove)
    assert Assistant.parse(stored(control_plane, namespace)).spec.replicas is None


def test_scale_tells_autoscalers_the_selector(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(assistant({**HUB, "replicas": 1}), namespace=namespace)
    patch = ["patch", "asst", "helper", "--namespace", namespace, "--subresource", "status", "--type", "merge"]
    control_plane.kubectl(*patch, "-p", json.dumps({"status": {"replicas": 1, "selector": "a=b"}}))
    path = f"/apis/ai-assistant.dev/v1alpha1/namespaces/{namespace}/assistants/helper/scale"
    scale = json.loads(control_plane.kubectl("get", "--raw", path).stdout)
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"] == {"replicas": 1, "selector": "a=b"}


def test_spec_and_status_are_written_apart(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply({**assistant(HUB), "status": {"phase": "Ready"}}, namespace=namespace)
    assert "phase" not in stored(control_plane, namespace).get("status", {})
