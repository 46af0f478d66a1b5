"""Children from PodTemplates: what is filled in, what stays, and that equal inputs make equal children."""

import json
from copy import deepcopy
from typing import Any

import pytest

from ai_assistant_operator import names, policies
from ai_assistant_operator.bot import bot_deployment
from ai_assistant_operator.manifests import Owner
from ai_assistant_operator.model_version import ModelPackage, ModelVersion
from ai_assistant_operator.provision_job import precision_for, provision_job, prune_job
from ai_assistant_operator.rollout_hash import rollout_hash
from ai_assistant_operator.templates import Template, TemplateError, find_template
from ai_assistant_operator.worker import RemoteModel, Rollout, worker_deployment, worker_template_kind

OWNER = Owner("demo", "chat", "3f0c9f3e-7b1e-4f43-9d1c-0c8f3b7c2a11")
VERSION = ModelVersion("hf://org/tiny", "main", "int8")
PACKAGE = ModelPackage(VERSION, "0123456789abcdef" * 2, "/models/" + "0123456789abcdef" * 2, "c" * 40)
DENY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}
NETWORK = {
    "ingress": [{"ports": [{"protocol": "TCP", "port": 9100}]}],
    "egress": [{"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "postgresql"}}}]}],
}


def pod_template(kind: str = "worker", *, store: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    """A PodTemplate as the apiserver gives it back."""
    name = "worker" if kind == "worker-cuda" else kind
    return {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": {
            "name": f"ai-assistant-{kind}",
            "namespace": "chat",
            "labels": {"ai-assistant.dev/template": kind, "ai-assistant.dev/install": "ai-assistant", "helm.sh/chart": "x-1"},
            "annotations": {"ai-assistant.dev/contract": "1", "ai-assistant.dev/network-policy": json.dumps(NETWORK)},
            "resourceVersion": "712",
            "managedFields": [{"manager": "helm", "operation": "Apply"}],
        },
        "template": {
            "metadata": {"creationTimestamp": None, "annotations": {"team": "chat"}},
            "spec": {
                "automountServiceAccountToken": False,
                "serviceAccount": "default",
                "serviceAccountName": "default",
                "restartPolicy": "Always",
                "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
                "terminationGracePeriodSeconds": 615,
                "containers": [
                    {
                        "name": name,
                        "image": "registry.example/ai-assistant-worker:1",
                        "args": [name],
                        "env": [
                            {"name": "AI_ASSISTANT_LOG_FORMAT", "value": "json"},
                            {"name": "AI_ASSISTANT_DRAIN_SECONDS", "value": "600"},
                            {"name": "AI_ASSISTANT_MODEL", "value": "pypi://left==over"},
                        ],
                        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
                        "securityContext": deepcopy(DENY),
                        "terminationMessagePolicy": "File",
                        "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
                        **container,
                    }
                ],
                "volumes": [{"name": "models", **(store or {"persistentVolumeClaim": {"claimName": "models"}})}],
            },
        },
    }


def template(kind: str = "worker", **changes: Any) -> Template:
    return find_template([pod_template(kind, **changes)], kind)


def container(thing: dict[str, Any]) -> dict[str, Any]:
    (only,) = thing["spec"]["template"]["spec"]["containers"]
    return only


def env(thing: dict[str, Any]) -> dict[str, Any]:
    variables = container(thing)["env"]
    assert len({variable["name"] for variable in variables}) == len(variables)
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables}


def children() -> list[dict[str, Any]]:
    worker, bot, provisioner = template(), template("bot"), template("provisioner")
    made = [
        policies.service_account(OWNER),
        policies.disruption_budget(OWNER),
        policies.network_policy(OWNER, names.WORKER, names.worker_name("demo"), worker),
        worker_deployment(OWNER, worker, PACKAGE, replicas=2),
        bot_deployment(OWNER, bot, token_secret="telegram", token_key="token"),
        provision_job(OWNER, provisioner, VERSION, 1),
        prune_job(OWNER, provisioner, {PACKAGE.digest}, "demo-prune"),
    ]
    return [child for child in made if child is not None]


@pytest.mark.parametrize("child", children(), ids=lambda child: child["kind"])
def test_every_child_belongs_to_the_assistant_and_is_restricted(child: dict[str, Any]) -> None:
    metadata = child["metadata"]
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("Assistant", "demo", OWNER.uid, True)
    assert metadata["namespace"] == "chat"
    assert metadata["labels"]["ai-assistant.dev/assistant"] == "demo"
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "ai-assistant-operator"
    assert len(metadata["name"]) <= 63
    if "template" in child.get("spec", {}):
        pod = child["spec"]["template"]
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert (pod["spec"]["serviceAccountName"], "serviceAccount" in pod["spec"]) == ("demo-assistant", False)
        assert pod["spec"]["securityContext"]["runAsUser"] == 10001
        assert container(child)["securityContext"] == DENY
        assert container(child)["terminationMessagePolicy"] == "FallbackToLogsOnError"
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & pod["metadata"]["labels"].keys()
        if selector := child["spec"].get("selector"):
            assert selector["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_the_same_inputs_make_the_same_children_in_any_order_of_keys() -> None:
    def reordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reordered(value[key]) for key in reversed(value)}
        return [reordered(item) for item in value] if isinstance(value, list) else value

    shuffled = find_template([reordered(pod_template())], "worker")
    assert children() == children()
    one, other = (worker_deployment(OWNER, each, PACKAGE, replicas=1) for each in (template(), shuffled))
    assert one == other
    assert rollout_hash({"a": 1, "b": [2]}) == rollout_hash({"b": [2], "a": 1}) != rollout_hash({"a": 1, "b": [3]})


def test_what_a_template_has_around_its_pod_restarts_nothing() -> None:
    later = pod_template()
    later["metadata"]["resourceVersion"] = "9000"
    later["metadata"]["labels"]["helm.sh/chart"] = "x-2"
    same = worker_deployment(OWNER, find_template([later], "worker"), PACKAGE, replicas=1)
    assert same == worker_deployment(OWNER, template(), PACKAGE, replicas=1)
    later["template"]["spec"]["containers"][0]["image"] = "registry.example/ai-assistant-worker:2"
    other = worker_deployment(OWNER, find_template([later], "worker"), PACKAGE, replicas=1)
    assert other["metadata"]["annotations"] != same["metadata"]["annotations"]


def test_a_template_is_never_changed_by_what_is_made_of_it() -> None:
    worker = template()
    before = deepcopy(worker.pod)
    worker_deployment(OWNER, worker, PACKAGE, replicas=1, gpus=2, resources={"limits": {"memory": "8Gi"}})
    assert worker.pod == before


def test_a_worker_serves_a_package() -> None:
    deployment = worker_deployment(OWNER, template(), PACKAGE, replicas=3)
    assert deployment["metadata"]["name"] == "demo-worker"
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    pod = deployment["spec"]["template"]
    assert pod["metadata"]["labels"]["ai-assistant.dev/package"] == PACKAGE.digest
    assert pod["metadata"]["annotations"] == {"team": "chat"}
    assert pod["spec"]["terminationGracePeriodSeconds"] == 615
    assert pod["spec"]["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"
    assert env(deployment) == {
        "AI_ASSISTANT_LOG_FORMAT": "json",
        "AI_ASSISTANT_DRAIN_SECONDS": "600",
        "AI_ASSISTANT_ASSISTANT": "demo",
        "AI_ASSISTANT_WORKER_ID": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
        "AI_ASSISTANT_MODEL_PACKAGE": PACKAGE.path,
        "AI_ASSISTANT_DEVICE": "cpu",
    }


def test_replicas_are_not_part_of_what_a_worker_is_made_of() -> None:
    few, many = (worker_deployment(OWNER, template(), PACKAGE, replicas=count) for count in (0, 9))
    assert few["metadata"] == many["metadata"]
    assert few["spec"]["template"] == many["spec"]["template"]


def test_a_remote_model_needs_no_package() -> None:
    remote = RemoteModel("https://models.example/v1", "big", "remote-key", "key")
    variables = env(worker_deployment(OWNER, template(), remote, replicas=1))
    assert variables["AI_ASSISTANT_REMOTE_URL"] == "https://models.example/v1"
    assert variables["AI_ASSISTANT_REMOTE_API_KEY"] == {"secretKeyRef": {"name": "remote-key", "key": "key"}}
    assert not {"AI_ASSISTANT_MODEL", "AI_ASSISTANT_MODEL_PACKAGE"} & variables.keys()
    assert "AI_ASSISTANT_REMOTE_API_KEY" not in env(worker_deployment(OWNER, template(), RemoteModel("http://x/v1"), replicas=1))


def test_without_a_shared_store_workers_build_their_model() -> None:
    worker = template(store={"emptyDir": {}})
    assert (worker.has_shared_store, template().has_shared_store) == (False, True)
    variables = env(worker_deployment(OWNER, worker, VERSION, replicas=1))
    assert (variables["AI_ASSISTANT_MODEL"], variables["AI_ASSISTANT_PRECISION"]) == ("hf://org/tiny@main", "int8")


def test_gpus_are_a_limit_and_choose_the_template() -> None:
    assert (worker_template_kind(0), worker_template_kind(1)) == ("worker", "worker-cuda")
    resources = {"requests": {"memory": "1Gi", "nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}
    deployment = worker_deployment(OWNER, template("worker-cuda", resources=resources), PACKAGE, replicas=1, gpus=2)
    assert container(deployment)["resources"] == {"requests": {"memory": "1Gi"}, "limits": {"nvidia.com/gpu": "2"}}
    assert env(deployment)["AI_ASSISTANT_DEVICE"] == "cuda"
    assert [precision_for(*asked) for asked in (("auto", 1), ("auto", 0), ("fp16", 1))] == ["fp16", "auto", "fp16"]


def test_an_assistant_s_resources_win_by_name() -> None:
    deployment = worker_deployment(OWNER, template(), PACKAGE, replicas=1, resources={"limits": {"memory": "8Gi", "cpu": "4"}})
    assert container(deployment)["resources"] == {
        "requests": {"cpu": "1", "memory": "1Gi"},
        "limits": {"memory": "8Gi", "cpu": "4"},
    }


@pytest.mark.parametrize(
    ("surge", "unavailable", "expected"),
    [(0, 1, (0, 1)), (0, 0, (0, 1)), ("0%", "0%", ("0%", 1)), ("25%", 0, ("25%", 0)), (2, 1, (2, 1))],
)
def test_a_rollout_can_always_go_on(surge: int | str, unavailable: int | str, expected: tuple[int | str, int | str]) -> None:
    update = Rollout(surge, unavailable).to_strategy()["rollingUpdate"]
    assert (update["maxSurge"], update["maxUnavailable"]) == expected


def test_one_bot_at_a_time() -> None:
    deployment = bot_deployment(OWNER, template("bot"), token_secret="telegram", token_key="token", replicas=5)
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert env(deployment)["AI_ASSISTANT_TELEGRAM_TOKEN"] == {"secretKeyRef": {"name": "telegram", "key": "token"}}


def test_a_job_is_one_attempt_at_one_version() -> None:
    job = provision_job(OWNER, template("provisioner"), VERSION, 2)
    assert job["metadata"]["name"] == f"demo-provision-{VERSION.name}-2"
    assert job["metadata"]["labels"]["ai-assistant.dev/attempt"] == "2"
    assert (job["spec"]["backoffLimit"], job["spec"]["template"]["spec"]["restartPolicy"]) == (0, "Never")
    expected = "model build hf://org/tiny@main --precision int8 --store /models --result /dev/termination-log"
    assert " ".join(container(job)["args"]) == expected
    again = container(provision_job(OWNER, template("provisioner"), VERSION, 3, resolved="c" * 40))["args"]
    assert again[2] == "hf://org/tiny@" + "c" * 40


def test_a_prune_job_names_all_that_stays() -> None:
    job = prune_job(OWNER, template("provisioner"), {"b" * 32, "a" * 32}, "demo-prune")
    assert " ".join(container(job)["args"]) == f"model prune --store /models --keep {'a' * 32} --keep {'b' * 32}"


def test_a_policy_lets_workers_reach_what_the_chart_names_and_dns() -> None:
    policy = policies.network_policy(
        OWNER, names.WORKER, "demo-worker", template(), outside=(policies.port_of("http://m/v1"), 8443)
    )
    assert policy is not None
    spec = policy["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == NETWORK["ingress"]
    assert [rule.get("ports", [{}])[0].get("port") for rule in spec["egress"]] == [53, None, 80]
    assert [port["port"] for port in spec["egress"][-1]["ports"]] == [80, 8443]


def test_a_chart_may_want_no_policies() -> None:
    thing = pod_template()
    del thing["metadata"]["annotations"]["ai-assistant.dev/network-policy"]
    assert policies.network_policy(OWNER, names.WORKER, "demo-worker", find_template([thing], "worker")) is None


def changed(path: str, value: Any) -> list[dict[str, Any]]:
    thing = pod_template()
    *parents, last = path.split("|")
    place: Any = thing
    for key in parents:
        place = place[key]
    place[last] = value
    return [thing]


@pytest.mark.parametrize(
    ("objects", "reason", "sentence"),
    [
        ([], "TemplateMissing", "no PodTemplate for worker in this namespace; install the chart again"),
        ([pod_template("bot")], "TemplateMissing", "no PodTemplate for worker"),
        ([pod_template(), pod_template()], "TemplateAmbiguous", "There are 2 PodTemplates for worker"),
        (changed("metadata|annotations", {}), "TemplateContract", "follows contract None, this operator knows 1"),
        (changed("metadata|annotations", {"ai-assistant.dev/contract": "2"}), "TemplateContract", "nothing is changed until"),
        (changed("template|spec", {"containers": [{"name": "main"}]}), "TemplateInvalid", "has no container worker"),
        (
            changed("metadata|annotations", {"ai-assistant.dev/contract": "1", "ai-assistant.dev/network-policy": "[]"}),
            "TemplateInvalid",
            "is not a JSON object with ingress and egress",
        ),
    ],
)
def test_a_template_that_is_not_understood_holds_everything(objects: list[dict[str, Any]], reason: str, sentence: str) -> None:
    with pytest.raises(TemplateError, match=sentence) as caught:
        find_template(objects, "worker")
    assert caught.value.reason == reason
