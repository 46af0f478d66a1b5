"""The PodTemplates that the chart renders: what a pod looks like is the chart's, what it does is the operator's. Pure."""

import json
from collections.abc import Iterable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from ai_assistant_operator.names import CONTRACT_ANNOTATION, NETWORK_ANNOTATION, TEMPLATE_LABEL, label

CONTRACT = "1"
_CONTAINERS = {"worker": "worker", "worker-cuda": "worker", "bot": "bot", "provisioner": "provisioner"}
_STORE_VOLUME = "models"
_STORE = "/models"


class TemplateError(Exception):
    """A template is missing or not understood: what was made of an earlier one is left as it is."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message
        super().__init__(message)


@dataclass(frozen=True)
class Template:
    """One PodTemplate that the operator understands."""

    kind: str
    pod: dict[str, Any]
    """Labels, annotations and spec of the pod, with what the apiserver has filled in."""
    network: dict[str, Any] | None
    """`ingress` and `egress` of a NetworkPolicy for such pods; None: the chart wants none."""

    @property
    def container(self) -> dict[str, Any]:
        """The one to fill in."""
        return container_of(self.pod["spec"], _CONTAINERS[self.kind])

    @property
    def store(self) -> str:
        """Where the container has the model store."""
        mounts = self.container.get("volumeMounts") or []
        return next((mount["mountPath"] for mount in mounts if mount["name"] == _STORE_VOLUME), _STORE)

    @property
    def has_shared_store(self) -> bool:
        """Whether packages outlive a pod; if not, each worker builds its own and there are no provision Jobs."""
        volumes = self.pod["spec"].get("volumes") or []
        return any(volume["name"] == _STORE_VOLUME and "emptyDir" not in volume for volume in volumes)

    def copy(self) -> dict[str, Any]:
        """The pod, to be changed."""
        return deepcopy(self.pod)


def container_of(pod_spec: dict[str, Any], name: str) -> dict[str, Any]:
    """The container of that name; raises KeyError."""
    for container in pod_spec.get("containers") or []:
        if container.get("name") == name:
            assert isinstance(container, dict)
            return container
    raise KeyError(name)


def find_template(objects: Iterable[dict[str, Any]], kind: str) -> Template:
    """The template of that kind among the install's PodTemplates; raises TemplateError with what to do."""
    found = [thing for thing in objects if label(thing, TEMPLATE_LABEL) == kind]
    if not found:
        raise TemplateError(
            "TemplateMissing", f"There is no PodTemplate for {kind} in this namespace; install the chart again (helm upgrade)."
        )
    if len(found) > 1:
        names = ", ".join(sorted(thing["metadata"]["name"] for thing in found))
        raise TemplateError("TemplateAmbiguous", f"There are {len(found)} PodTemplates for {kind} ({names}); delete all but one.")
    thing = found[0]
    name, annotations = thing["metadata"]["name"], thing["metadata"].get("annotations") or {}
    contract = annotations.get(CONTRACT_ANNOTATION)
    if contract != CONTRACT:
        raise TemplateError(
            "TemplateContract",
            f"The PodTemplate {name} follows contract {contract}, this operator knows {CONTRACT}; nothing is changed until chart"
            " and operator are of one release.",
        )
    pod = deepcopy(thing.get("template") or {})
    try:
        container_of(pod.get("spec") or {}, _CONTAINERS[kind])
    except KeyError:
        raise TemplateError(
            "TemplateInvalid",
            f"The PodTemplate {name} has no container {_CONTAINERS[kind]}; install the chart again (helm upgrade).",
        ) from None
    # Labels that the chart may have put there count as ours; when the object was made does not.
    metadata = pod.get("metadata") or {}
    pod["metadata"] = {"labels": metadata.get("labels") or {}, "annotations": metadata.get("annotations") or {}}
    return Template(kind, pod, _network(name, annotations.get(NETWORK_ANNOTATION)))


def _network(name: str, text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    rules: Any = None
    with suppress(ValueError):
        rules = json.loads(text)
    if not isinstance(rules, dict) or not rules.keys() <= {"ingress", "egress"}:
        raise TemplateError(
            "TemplateInvalid",
            f"The annotation {NETWORK_ANNOTATION} of the PodTemplate {name} is not a JSON object with ingress and egress;"
            " install the chart again (helm upgrade).",
        )
    return rules
