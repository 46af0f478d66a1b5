"""The Deployment of an Assistant's workers. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ai_assistant_operator import names
from ai_assistant_operator.manifests import Env, Owner, child, filled, secret_value
from ai_assistant_operator.model_version import ModelPackage, ModelVersion
from ai_assistant_operator.templates import Template

GPU = "nvidia.com/gpu"
_HAND_BACK_SECONDS = 15
"""After the last answer's time to finish, for handing back to the queue what is not done."""
_PROGRESS_SECONDS = 900
_PREFIX = "AI_ASSISTANT_"


@dataclass(frozen=True)
class RemoteModel:
    """A model server elsewhere, in place of a package."""

    base_url: str
    model: str | None = None
    key_secret: str | None = None
    key: str = "api-key"


@dataclass(frozen=True)
class Rollout:
    """How workers are replaced by newer ones; numbers or percentages as in a Deployment."""

    max_surge: int | str = 1
    max_unavailable: int | str = 0

    def to_strategy(self) -> dict[str, Any]:
        """Both zero would never end, which Kubernetes refuses: then one worker goes first, which needs no spare capacity."""
        unavailable = self.max_unavailable
        if all(_is_zero(value) for value in (self.max_surge, unavailable)):
            unavailable = 1
        return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": self.max_surge, "maxUnavailable": unavailable}}


def worker_template_kind(gpus: int) -> str:
    """Which template workers are made of."""
    return "worker-cuda" if gpus else "worker"


def worker_deployment(
    owner: Owner,
    template: Template,
    model: ModelPackage | ModelVersion | RemoteModel,
    *,
    replicas: int,
    rollout: Rollout | None = None,
    gpus: int = 0,
    resources: Mapping[str, Mapping[str, Any]] | None = None,
    max_context: int | None = None,
) -> dict[str, Any]:
    """The Deployment; a ModelVersion is for a store per pod, where each worker builds the package itself.

    `replicas` is the last decision: left out, the cluster would take a field that was ours back to 1. `resources` of the
    Assistant win over the template's by name.
    """
    pod = filled(
        template,
        owner,
        names.WORKER,
        names.service_account_name(owner.name),
        {
            **_identity(owner),
            **_model_env(model, max_context),
            "AI_ASSISTANT_DEVICE": "cuda" if gpus else "cpu",
        },
        resources=_resources(template.container.get("resources") or {}, resources or {}, gpus),
    )
    if isinstance(model, ModelPackage):
        pod["metadata"]["labels"][names.PACKAGE_LABEL] = model.digest
    spec = pod["spec"]
    spec["terminationGracePeriodSeconds"] = _grace(template)
    if not spec.get("topologySpreadConstraints"):
        spec["topologySpreadConstraints"] = _spread(owner)
    deployment = {
        "replicas": replicas,
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": _PROGRESS_SECONDS,
        "selector": {"matchLabels": names.selector(owner.name, names.WORKER)},
        "strategy": (rollout or Rollout()).to_strategy(),
        "template": pod,
    }
    return child(owner, "apps/v1", "Deployment", names.worker_name(owner.name), names.WORKER, spec=deployment)


def _identity(owner: Owner) -> Env:
    return {
        "AI_ASSISTANT_ASSISTANT": owner.name,
        "AI_ASSISTANT_WORKER_ID": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
    }


def _model_env(model: ModelPackage | ModelVersion | RemoteModel, max_context: int | None) -> Env:
    """One source of answers; the variables of the others go, even where the template has them."""
    env: dict[str, str | dict[str, Any] | None] = {
        f"{_PREFIX}{name}": None
        for name in ("MODEL_PACKAGE", "MODEL", "PRECISION", "REMOTE_URL", "REMOTE_MODEL", "REMOTE_API_KEY")
    }
    if max_context is not None:
        env["AI_ASSISTANT_REMOTE_CONTEXT" if isinstance(model, RemoteModel) else "AI_ASSISTANT_MAX_CONTEXT"] = str(max_context)
    match model:
        case ModelPackage():
            env["AI_ASSISTANT_MODEL_PACKAGE"] = model.path
        case ModelVersion():
            env["AI_ASSISTANT_MODEL"] = model.pinned()
            env["AI_ASSISTANT_PRECISION"] = model.precision
        case RemoteModel():
            env["AI_ASSISTANT_REMOTE_URL"] = model.base_url
            env["AI_ASSISTANT_REMOTE_MODEL"] = model.model
            if model.key_secret is not None:
                env["AI_ASSISTANT_REMOTE_API_KEY"] = secret_value(model.key_secret, model.key)
    return env


def _resources(of_template: Mapping[str, Any], of_assistant: Mapping[str, Mapping[str, Any]], gpus: int) -> dict[str, Any]:
    resources = {kind: {**(of_template.get(kind) or {}), **(of_assistant.get(kind) or {})} for kind in ("requests", "limits")}
    if gpus:
        # A GPU is never overcommitted: request and limit must be equal, and the limit alone says both.
        resources["requests"].pop(GPU, None)
        resources["limits"][GPU] = str(gpus)
    return {kind: values for kind, values in resources.items() if values}


def _grace(template: Template) -> int:
    """As long as a task may take, and a moment to hand it back."""
    env = {variable["name"]: variable.get("value") for variable in template.container.get("env") or []}
    drain = env.get("AI_ASSISTANT_DRAIN_SECONDS") or "30"
    return max(int(float(drain)) + _HAND_BACK_SECONDS, int(template.pod["spec"].get("terminationGracePeriodSeconds") or 0))


def _spread(owner: Owner) -> list[dict[str, Any]]:
    """Over nodes and zones where there are several."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": names.selector(owner.name, names.WORKER)},
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def _is_zero(value: int | str) -> bool:
    return re.fullmatch(r"0+%?", str(value)) is not None
