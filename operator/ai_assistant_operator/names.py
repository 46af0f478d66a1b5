"""Names, labels and annotations of what the operator makes; the chart and the reconciler look for them too. Pure."""

from typing import Any

GROUP = "ai-assistant.dev"
VERSION = "v1alpha1"
KIND = "Assistant"
FIELD_MANAGER = "ai-assistant-operator"

ASSISTANT_LABEL = f"{GROUP}/assistant"
PACKAGE_LABEL = f"{GROUP}/package"
MODEL_VERSION_LABEL = f"{GROUP}/model-version"
ATTEMPT_LABEL = f"{GROUP}/attempt"
TEMPLATE_LABEL = f"{GROUP}/template"
INSTALL_LABEL = f"{GROUP}/install"
CONTRACT_ANNOTATION = f"{GROUP}/contract"
NETWORK_ANNOTATION = f"{GROUP}/network-policy"
HASH_ANNOTATION = f"{GROUP}/rollout-hash"
COMPONENT_LABEL = "app.kubernetes.io/component"
DELETION_COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"

WORKER, BOT, PROVISIONER = "worker", "bot", "provisioner"


def worker_name(assistant: str) -> str:
    """Of the Deployment, its PodDisruptionBudget and its NetworkPolicy."""
    return f"{assistant}-worker"


def bot_name(assistant: str) -> str:
    """Of the Deployment and its NetworkPolicy."""
    return f"{assistant}-bot"


def provisioner_name(assistant: str) -> str:
    """Of the NetworkPolicy of all provision Jobs."""
    return f"{assistant}-provisioner"


def service_account_name(assistant: str) -> str:
    """Of the account without rights that all pods of an Assistant run as."""
    return f"{assistant}-assistant"


def provision_job_name(assistant: str, version: str, attempt: int) -> str:
    """At most 63 characters for an Assistant's name of 40, so that it fits into the label `job-name` too."""
    return f"{assistant}-provision-{version}-{attempt % 1000}"


def labels(assistant: str, component: str) -> dict[str, str]:
    """Of a child and of its pods. No version of the operator or the chart: pods would restart with each release."""
    return {
        **selector(assistant, component),
        "app.kubernetes.io/managed-by": FIELD_MANAGER,
    }


def selector(assistant: str, component: str) -> dict[str, str]:
    """What a Deployment and a policy select pods by; it can never be changed."""
    return {ASSISTANT_LABEL: assistant, "app.kubernetes.io/name": "ai-assistant", COMPONENT_LABEL: component}


def label(thing: dict[str, Any], name: str) -> str | None:
    """A label of an object of the cluster."""
    value = (thing.get("metadata", {}).get("labels") or {}).get(name)
    return value if isinstance(value, str) else None
