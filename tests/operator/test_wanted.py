"""Which children an Assistant has, by its spec: parsed from objects as the apiserver gives them."""

import json
from typing import Any

import pytest

from ai_assistant_operator.model_version import ModelPackage, ModelVersion
from ai_assistant_operator.spec import Assistant
from ai_assistant_operator.templates import TemplateError
from ai_assistant_operator.wanted import named_secrets, version_of, wanted_children, worker_template

PACKAGE = ModelPackage(ModelVersion("hf://org/tiny", None, "auto"), "a" * 32, "/models/" + "a" * 32)
MODEL = {"model": {"source": "hf://org/tiny", "precision": "auto"}}
REMOTE = {"remote": {"baseUrl": "http://models.example:8080/v1", "apiKeySecretRef": {"name": "remote", "key": "api-key"}}}
TELEGRAM = {"telegram": {"tokenSecretRef": {"name": "telegram", "key": "token"}, "access": "allowlist", "admins": [7, 8]}}
WORKLOADS = ["NetworkPolicy demo-worker", "PodDisruptionBudget demo-worker", "Deployment demo-worker"]


def assistant(spec: dict[str, Any]) -> Assistant:
    metadata = {"name": "demo", "namespace": "chat", "uid": "u-1", "generation": 2, "resourceVersion": "5"}
    return Assistant.parse({"metadata": metadata, "spec": spec})


def pod_templates(*, shared: bool = True) -> list[dict[str, Any]]:
    volume = {"persistentVolumeClaim": {"claimName": "models"}} if shared else {"emptyDir": {}}
    return [
        {
            "metadata": {
                "name": f"release-{kind}",
                "labels": {"ai-assistant.dev/template": kind},
                "annotations": {"ai-assistant.dev/contract": "1", "ai-assistant.dev/network-policy": json.dumps({"egress": []})},
            },
            "template": {"spec": {"containers": [{"name": name}], "volumes": [{"name": "models", **volume}]}},
        }
        for kind, name in (("worker", "worker"), ("worker-cuda", "worker"), ("bot", "bot"), ("provisioner", "provisioner"))
    ]


def listed(children: list[dict[str, Any]]) -> list[str]:
    return [f"{child['kind']} {child['metadata']['name']}" for child in children]


def env(children: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (deployment,) = (child for child in children if (child["kind"], child["metadata"]["name"]) == ("Deployment", name))
    return {
        entry["name"]: entry.get("value", "secret") for entry in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    }


ACCOUNT, PROVISIONER = "ServiceAccount demo-assistant", "NetworkPolicy demo-provisioner"
BOT = ["NetworkPolicy demo-bot", "Deployment demo-bot"]


@pytest.mark.parametrize(
    ("spec", "package", "shared", "expected"),
    [
        (MODEL, None, True, [ACCOUNT, PROVISIONER]),
        (MODEL, PACKAGE, True, [ACCOUNT, *WORKLOADS, PROVISIONER]),
        (MODEL, None, False, [ACCOUNT, *WORKLOADS]),
        (REMOTE, None, True, [ACCOUNT, *WORKLOADS]),
        (MODEL | TELEGRAM, PACKAGE, True, [ACCOUNT, *WORKLOADS, PROVISIONER, *BOT]),
    ],
)
def test_the_children_of_a_spec(spec: dict[str, Any], package: ModelPackage | None, shared: bool, expected: list[str]) -> None:
    children = wanted_children(assistant(spec), pod_templates(shared=shared), package, 1)
    assert listed(children) == expected
    # looking again makes the same
    assert wanted_children(assistant(spec), list(reversed(pod_templates(shared=shared))), package, 1) == children


def test_a_remote_model_s_port_is_open_to_workers() -> None:
    children = wanted_children(assistant(REMOTE), pod_templates(), None, 1)
    egress = next(child for child in children if child["kind"] == "NetworkPolicy")["spec"]["egress"]
    assert egress[-1] == {"ports": [{"protocol": "TCP", "port": 8080}]}


def test_settings_reach_the_pods() -> None:
    spec = MODEL | TELEGRAM | {"generation": {"contextLength": 4096, "maxTokens": 100}, "instructions": "Be kind."}
    children = wanted_children(assistant(spec), pod_templates(), PACKAGE, 1)
    worker, bot = env(children, "demo-worker"), env(children, "demo-bot")
    assert worker["AI_ASSISTANT_MAX_CONTEXT"] == "4096"
    assert (bot["AI_ASSISTANT_TELEGRAM_ACCESS"], bot["AI_ASSISTANT_TELEGRAM_ADMINS"]) == ("allowlist", "7,8")
    assert "AI_ASSISTANT_TELEGRAM_ALLOWED" not in bot
    # what the gateway is told restarts nobody
    calmer = wanted_children(assistant(spec | {"instructions": "Be brief."}), pod_templates(), PACKAGE, 1)
    assert calmer == children


def test_a_gpu_has_its_template_and_precision() -> None:
    spec = MODEL | {"accelerator": {"type": "cuda", "count": 2}}
    version = version_of(assistant(spec))
    assert version is not None
    assert version.precision == "fp16"
    assert worker_template(assistant(spec), pod_templates()).kind == "worker-cuda"
    assert version_of(assistant(REMOTE)) is None


def test_secrets_that_are_named() -> None:
    assert named_secrets(assistant(REMOTE | TELEGRAM)) == {"remote", "telegram"}
    assert named_secrets(assistant(MODEL)) == frozenset()


def test_a_template_of_another_contract_stops_everything() -> None:
    templates = pod_templates()
    for template in templates:
        template["metadata"]["annotations"]["ai-assistant.dev/contract"] = "2"
    with pytest.raises(TemplateError, match="nothing is changed until chart and operator are of one release"):
        wanted_children(assistant(MODEL | TELEGRAM), templates, PACKAGE, 1)
