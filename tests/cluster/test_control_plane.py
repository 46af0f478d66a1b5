"""What tests of the operator need of the cluster: accounts with few rights, outages, and a record of who did what."""

import json
import subprocess

from cluster.assistants import HUB, assistant
from cluster.control_plane import ControlPlane


def as_account(plane: ControlPlane, namespace: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = plane.account_kubeconfig(namespace, "reader")
    command = [str(plane.programs / "kubectl"), "--kubeconfig", str(config), "--namespace", namespace, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_account_can_do_what_its_role_says_and_the_record_shows_it(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "serviceaccount", "reader", "--namespace", namespace)
    grant = ["--verb=get,list", "--resource=assistants.ai-assistant.dev", "--namespace", namespace]
    control_plane.kubectl("create", "role", "reader", *grant)
    subject = f"--serviceaccount={namespace}:reader"
    control_plane.kubectl("create", "rolebinding", "reader", "--role=reader", subject, "--namespace", namespace)
    control_plane.apply(assistant(HUB), namespace=namespace)

    assert as_account(control_plane, namespace, "get", "assistants", "-o", "name").stdout.strip().endswith("/helper")
    assert "forbidden" in as_account(control_plane, namespace, "get", "secrets").stderr
    assert "forbidden" in as_account(control_plane, namespace, "delete", "assistant", "helper").stderr

    record = control_plane.audit(user=f":{namespace}:reader", namespace=namespace)
    assert {(event["verb"], event["objectRef"]["resource"]) for event in record} >= {("list", "assistants"), ("list", "secrets")}
    assert not [event for event in record if event["verb"] == "delete" and event["responseStatus"]["code"] < 300]


def test_what_is_stored_outlives_an_outage(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(assistant(HUB), namespace=namespace)
    with control_plane.apiserver_stopped():
        assert control_plane.kubectl("get", "asst", check=False).returncode != 0
    found = json.loads(control_plane.kubectl("get", "asst", "helper", "--namespace", namespace, "-o", "json").stdout)
    assert found["spec"]["model"]["source"] == HUB["model"]["source"]
