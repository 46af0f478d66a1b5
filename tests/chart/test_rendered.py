"""What the chart makes of values, read as objects."""

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart.rendered import CHART, Render, Rendered

from ai_assistant.settings import PREFIX, PROCESSES

ROOT = CHART.parents[1]
EVERYTHING: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "everything.yaml").read_text())
EXTERNAL: dict[str, Any] = {
    "postgresql": {"enabled": False},
    "externalDatabase": {"existingSecret": "our-database", "key": "dsn"},
    "valkey": {"enabled": False},
    "externalRedis": {"existingSecret": "our-redis"},
}
SECRETS: dict[str, Any] = {
    "auth": {
        "apiKeys": {"existingSecret": "people", "key": "all"},
        "serviceToken": {"existingSecret": "token"},
        "botKey": {"existingSecret": "bots", "key": "telegram"},
    },
    "postgresql": {"auth": {"existingSecret": "pg", "key": "pw"}},
    "valkey": {"auth": {"existingSecret": "vk"}},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": EVERYTHING,
    "external": EXTERNAL,
    "secrets": SECRETS,
    "pod-store": {"store": {"mode": "pod"}, "crds": {"manage": False}, "networkPolicy": {"enabled": False}},
}
CONTAINERS = {"worker": "worker", "worker-cuda": "worker", "bot": "bot", "provisioner": "provisioner"}
"""PodTemplates, and the container that the operator fills in."""
OPTIONAL = ("Ingress", "HTTPRoute", "ServiceMonitor", "PodMonitor", "PrometheusRule", "HorizontalPodAutoscaler")


@pytest.fixture(params=VARIANTS)
def rendered(request: pytest.FixtureRequest, render: Render) -> Rendered:
    return render(VARIANTS[request.param])


def test_lint(run_helm: Callable[..., str]) -> None:
    for values in VARIANTS.values():
        run_helm("lint", "--strict", CHART, "--namespace", "talk", "--values", "-", stdin=yaml.safe_dump(values))


def test_the_chart_has_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (chart["version"], chart["appVersion"]) == (project, project)


def test_names_are_unique_and_namespaced(rendered: Rendered) -> None:
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in rendered.objects]
    assert len(names) == len(set(names))
    cluster_wide = {kind for kind, _ in names if kind.startswith("Cluster") or kind == "CustomResourceDefinition"}
    assert cluster_wide <= {"ClusterRole", "ClusterRoleBinding"}


def test_objects_of_the_defaults(render: Render) -> None:
    rendered = render({})
    assert rendered.names("Deployment") == ["ai-ai-assistant-gateway", "ai-ai-assistant-operator"]
    assert rendered.names("StatefulSet") == ["ai-ai-assistant-postgresql", "ai-ai-assistant-valkey"]
    assert rendered.names("PodTemplate") == [
        f"ai-ai-assistant-{kind}" for kind in ("bot", "provisioner", "worker", "worker-cuda")
    ]
    assert rendered.names("Secret") == ["ai-ai-assistant-auth", "ai-ai-assistant-postgresql", "ai-ai-assistant-valkey"]
    assert rendered.names("PersistentVolumeClaim") == ["ai-ai-assistant-models"]
    for kind in (
        "Ingress",
        "HTTPRoute",
        "ServiceMonitor",
        "PodMonitor",
        "PrometheusRule",
        "HorizontalPodAutoscaler",
        "Assistant",
    ):
        assert rendered.names(kind) == []


def test_objects_of_everything(render: Render) -> None:
    rendered = render(EVERYTHING)
    assert rendered.names("Assistant") == ["demo", "other"]
    for kind in OPTIONAL:
        assert len(rendered.names(kind)) == 1, kind
    gateway = rendered.get("Deployment", "ai-ai-assistant-gateway")
    assert "replicas" not in gateway["spec"], "the autoscaler's"
    image = rendered.container("Deployment/ai-ai-assistant-gateway", "gateway")["image"]
    assert image == "registry.example.org/team/ai-assistant-gateway:2.0"
    for name in ("worker", "provisioner"):
        terms = rendered.pod(f"PodTemplate/ai-ai-assistant-{name}")["affinity"]["nodeAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]["nodeSelectorTerms"]
        assert [{item["key"] for item in term["matchExpressions"]} for term in terms] == [{"cpu", "kubernetes.io/hostname"}]


def test_restricted_pod_security(rendered: Rendered) -> None:
    pods = dict(rendered.pods())
    assert len(pods) >= 7
    for name, pod in pods.items():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert pod["enableServiceLinks"] is False, "variables of Services would be taken for settings"
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
        for container in pod["containers"] + pod.get("initContainers", []):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert {mount["name"] for mount in container["volumeMounts"]} <= mounted(pod, name, rendered)


def mounted(pod: dict[str, Any], name: str, rendered: Rendered) -> set[str]:
    kind, _, own = name.partition("/")
    claims = rendered.get(kind, own)["spec"].get("volumeClaimTemplates", []) if kind == "StatefulSet" else []
    return {volume["name"] for volume in pod["volumes"]} | {claim["metadata"]["name"] for claim in claims}


def test_only_operator_and_hooks_get_a_token(rendered: Rendered) -> None:
    with_token = {name for name, pod in rendered.pods() if pod["automountServiceAccountToken"]}
    assert "Deployment/ai-ai-assistant-operator" in with_token
    assert {name.partition("/")[0] for name in with_token - {"Deployment/ai-ai-assistant-operator"}} == {"Job"}
    for name, pod in rendered.pods():
        assert ("serviceAccountName" in pod) == (name in with_token)


def test_roles(rendered: Rendered) -> None:
    roles = [thing for thing in rendered.objects if thing["kind"] in ("Role", "ClusterRole")]
    for role in roles:
        for rule in role["rules"]:
            words = {*rule["resources"], *rule["verbs"], *rule["apiGroups"]}
            assert not words & {"secrets", "*", "pods/exec", "pods/attach", "nodes", "escalate", "bind", "impersonate"}
            assert "reason" not in rule
            if role["kind"] == "ClusterRole":
                assert rule["resourceNames"] == ["assistants.ai-assistant.dev"]
    cluster = [role["metadata"]["name"] for role in roles if role["kind"] == "ClusterRole"]
    assert cluster in ([], ["talk-ai-ai-assistant-crd"])


def test_every_env_is_a_setting_of_its_process(rendered: Rendered) -> None:
    processes = {
        "gateway": "gateway",
        "migrate": "gateway",
        "worker": "worker",
        "bot": "bot",
        "provisioner": "worker",
        "chat": "chat",
    }
    seen = set()
    for name, pod in rendered.pods():
        for container in pod["containers"] + pod.get("initContainers", []):
            ours = [item["name"] for item in container.get("env", []) if item["name"].startswith(PREFIX)]
            if process := processes.get(container["name"]):
                seen.add(container["name"])
                fields = {f"{PREFIX}{field.upper()}" for field in PROCESSES[process].model_fields}
                assert set(ours) <= fields, name
            elif container["name"] == "operator":
                assert all(item.startswith(f"{PREFIX}OPERATOR_") for item in ours)
            else:
                assert ours == []
    assert seen == processes.keys()


def test_references_of_variables_come_first(rendered: Rendered) -> None:
    """`$(NAME)` is replaced only by what stands before it."""
    for name, pod in rendered.pods():
        for container in pod["containers"] + pod.get("initContainers", []):
            known: set[str] = set()
            for item in container.get("env", []):
                assert set(re.findall(r"\$\((\w+)\)", item.get("value", ""))) <= known, name
                assert item["name"] not in known, f"{name} sets {item['name']} twice"
                known.add(item["name"])
            assert set(re.findall(r"\$\((\w+)\)", json.dumps(container.get("command", [])))) <= known


def test_secrets_are_named_or_made(rendered: Rendered) -> None:
    made = {(name, key) for name in rendered.names("Secret") for key in rendered.get("Secret", name)["data"]}
    named = {("our-database", "dsn"), ("our-redis", "url"), ("people", "all"), ("token", "service-token"), ("bots", "telegram")}
    named |= {("pg", "pw"), ("vk", "password"), ("hub", "token")}
    for name, pod in rendered.pods():
        for container in pod["containers"] + pod.get("initContainers", []):
            for item in container.get("env", []):
                if source := item.get("valueFrom", {}).get("secretKeyRef"):
                    assert (source["name"], source["key"]) in made | named, name


def test_existing_secrets_leave_nothing_to_make(render: Render) -> None:
    rendered = render(SECRETS)
    assert rendered.names("Secret") == []
    own = rendered.env("Deployment/ai-ai-assistant-operator")["AI_ASSISTANT_OPERATOR_OWN_SECRETS"]
    assert own == "bots,people,pg,token,vk"
    assert "our-database" in render(EXTERNAL).env("Deployment/ai-ai-assistant-operator")["AI_ASSISTANT_OPERATOR_OWN_SECRETS"]


def test_generated_secrets_are_kept_and_long(render: Render) -> None:
    for name in render({}).names("Secret"):
        secret = render({}).get("Secret", name)
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert all(len(text) >= 50 for text in secret["data"].values())


def test_external_services_replace_ours(render: Render) -> None:
    rendered = render(EXTERNAL)
    assert rendered.names("StatefulSet") == []
    for name in ("Deployment/ai-ai-assistant-gateway", "PodTemplate/ai-ai-assistant-worker"):
        container = name.rpartition("-")[2]
        env = rendered.env(name, container)
        assert env["AI_ASSISTANT_DATABASE_URL"] == {"secretKeyRef": {"name": "our-database", "key": "dsn"}}
        assert env["AI_ASSISTANT_REDIS_URL"] == {"secretKeyRef": {"name": "our-redis", "key": "url"}}
    assert not [name for name in rendered.names("NetworkPolicy") if "postgresql" in name or "valkey" in name]


@pytest.mark.parametrize(
    ("values", "connections"),
    [
        ({}, (2 + 1) * 10 + 2 * 50 + 20),
        ({"gateway": {"replicas": 5, "connections": 4}, "worker": {"maxTotal": 10}}, 6 * 4 + 20 + 20),
        ({"gateway": {"autoscaling": {"enabled": True, "maxReplicas": 9}}}, 100 + 100 + 20),
        ({"postgresql": {"maxConnections": 500}}, 500),
    ],
)
def test_max_connections(render: Render, values: dict[str, Any], connections: int) -> None:
    args = render(values).container("StatefulSet/ai-ai-assistant-postgresql")["args"]
    assert args == ["postgres", "-c", f"max_connections={connections}"]


def test_connections_of_a_gateway_and_of_a_worker_are_those_of_the_code() -> None:
    sources = ROOT / "src/ai_assistant"
    assert (
        f"pool_size: int = {yaml.safe_load((CHART / 'values.yaml').read_text())['gateway']['connections']},"
        in (sources / "database/session.py").read_text()
    )
    assert "POOL_SIZE = 2\n" in (sources / "worker/service.py").read_text()


def test_the_internal_port_is_behind_nothing(render: Render) -> None:
    rendered = render(EVERYTHING)
    public = rendered.get("Service", "ai-ai-assistant-gateway")
    assert [port["targetPort"] for port in public["spec"]["ports"]] == ["http"]
    assert rendered.get("Service", "ai-ai-assistant-gateway-internal")["spec"]["type"] == "ClusterIP"
    for kind in ("Ingress", "HTTPRoute"):
        text = json.dumps(rendered.get(kind, "ai-ai-assistant"))
        assert "ai-ai-assistant-gateway" in text
        assert "internal" not in text


def test_pod_templates_follow_the_contract(rendered: Rendered) -> None:
    for kind, container in CONTAINERS.items():
        template = rendered.get("PodTemplate", f"ai-ai-assistant-{kind}")
        assert template["metadata"]["annotations"]["ai-assistant.dev/contract"] == "1"
        assert template["metadata"]["labels"]["ai-assistant.dev/template"] == kind
        assert template["metadata"]["labels"]["ai-assistant.dev/install"] == "ai"
        assert [item["name"] for item in template["template"]["spec"]["containers"]] == [container]
        if rules := template["metadata"]["annotations"].get("ai-assistant.dev/network-policy"):
            assert json.loads(rules).keys() <= {"ingress", "egress"}


def test_a_new_chart_version_changes_no_pod(tmp_path: Path, render: Render) -> None:
    """With the same images named, for else the tag is the application's version, and an upgrade means to change it."""
    tags = {name: {"image": {"tag": "1"}} for name in ("gateway", "operator", "worker", "workerCuda", "bot")}
    newer = tmp_path / "ai-assistant"
    shutil.copytree(CHART, newer)
    text = (newer / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(re.sub(r"(?m)^(version|appVersion): .*$", r"\1: 9.9.9", text))
    for values in ({}, EVERYTHING):
        before, after = render(values | tags), render(values | tags, chart=newer)
        for thing in before.objects:
            other = after.get(thing["kind"], thing["metadata"]["name"])
            if thing["kind"] == "PodTemplate":
                assert thing["template"] == other["template"]
            elif thing["kind"] in ("Deployment", "StatefulSet"):
                assert thing["spec"] == other["spec"]
    assert "9.9.9" in after.text


def test_workers_get_the_deadline_of_a_task_to_drain(render: Render) -> None:
    rendered = render({"gateway": {"taskSeconds": 100}})
    assert rendered.env("PodTemplate/ai-ai-assistant-worker")["AI_ASSISTANT_DRAIN_SECONDS"] == "100"
    assert rendered.pod("PodTemplate/ai-ai-assistant-worker")["terminationGracePeriodSeconds"] == 115
    assert rendered.env("Deployment/ai-ai-assistant-gateway", "gateway")["AI_ASSISTANT_TASK_SECONDS"] == "100"


@pytest.mark.parametrize(("mode", "access", "read_only"), [("shared", "ReadWriteMany", True), ("node", "ReadWriteOnce", True)])
def test_store_on_a_volume(render: Render, mode: str, access: str, read_only: bool) -> None:
    rendered = render({"store": {"mode": mode}})
    claim = rendered.get("PersistentVolumeClaim", "ai-ai-assistant-models")
    assert claim["spec"]["accessModes"] == [access]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    worker = rendered.container("PodTemplate/ai-ai-assistant-worker")
    assert {"name": "models", "mountPath": "/models", "readOnly": read_only} in worker["volumeMounts"]
    volumes = rendered.pod("PodTemplate/ai-ai-assistant-provisioner")["volumes"]
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "ai-ai-assistant-models"}} in volumes


def test_store_in_pods(render: Render) -> None:
    rendered = render({"store": {"mode": "pod", "size": "5Gi"}})
    assert rendered.names("PersistentVolumeClaim") == []
    assert {"name": "models", "emptyDir": {"sizeLimit": "5Gi"}} in rendered.pod("PodTemplate/ai-ai-assistant-worker")["volumes"]


def test_probes(rendered: Rendered) -> None:
    for name, pod in rendered.pods():
        if name.partition("/")[0] in ("Deployment", "StatefulSet") or name.endswith(("-worker", "-worker-cuda")):
            for container in pod["containers"]:
                assert container.keys() >= {"startupProbe", "readinessProbe", "livenessProbe"}, name


def test_selectors_find_their_pods(rendered: Rendered) -> None:
    pods = [
        thing["spec"]["template"]["metadata"]["labels"]
        for thing in rendered.objects
        if thing["kind"] in ("Deployment", "StatefulSet")
    ]
    for thing in rendered.objects:
        if thing["kind"] == "Service":
            wanted = thing["spec"]["selector"]
        elif thing["kind"] == "PodDisruptionBudget":
            wanted = thing["spec"]["selector"]["matchLabels"]
        elif thing["kind"] == "NetworkPolicy":
            wanted = thing["spec"]["podSelector"]["matchLabels"]
        else:
            continue
        assert len([labels for labels in pods if wanted.items() <= labels.items()]) == 1, thing["metadata"]["name"]


def test_alerts_use_metrics_that_exist(render: Render) -> None:
    rule = render(EVERYTHING).get("PrometheusRule", "ai-ai-assistant")
    alerts = [alert for group in rule["spec"]["groups"] for alert in group["rules"]]
    assert len(alerts) >= 4
    known = set(re.findall(r"`(ai_assistant_\w+)`", (ROOT / "docs/reference/metrics.md").read_text()))
    for alert in alerts:
        assert set(re.findall(r"ai_assistant_\w+", alert["expr"])) <= known
        assert "$NAME" not in json.dumps(alert)
        assert 'namespace="talk"' in alert["expr"]


def test_crd_hook_carries_the_definition(render: Render) -> None:
    config = render({}).get("ConfigMap", "ai-ai-assistant-crd")
    assert json.loads(config["data"]["assistants.json"]) == yaml.safe_load((CHART / "crds/assistants.yaml").read_text())
    assert render({"crds": {"manage": False}}).names("ClusterRole") == []


def test_notes_tell_what_to_do(run_helm: Callable[..., str]) -> None:
    def notes(values: dict[str, Any]) -> str:
        arguments = ("install", "ai", CHART, "--namespace", "talk", "--dry-run=client", "--values", "-")
        return run_helm(*arguments, stdin=yaml.safe_dump(values)).partition("NOTES:")[2]

    assert "kind: Assistant" in notes({})
    assert "port-forward service/ai-ai-assistant-gateway 8000:80" in notes({})
    assert "https://chat.example.org/" in notes(EVERYTHING)
    assert "kind: Assistant" not in notes(EVERYTHING)
    assert "WARNING" in notes({"postgresql": {"persistence": {"enabled": False}}})


def test_labels_are_valid(rendered: Rendered) -> None:
    for thing in rendered.objects:
        for value in thing["metadata"].get("labels", {}).values():
            assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)
