"""What all children have in common: owner, labels, and how a template's pod is filled in. Pure.

A child is a dict for server-side apply: it holds all that the operator answers for and nothing that the cluster fills in.
`rollout_hash` of what it was made of stands in an annotation of the child, never of its pods; replicas are not part of it, for
they change by another decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ai_assistant_operator.names import GROUP, HASH_ANNOTATION, KIND, VERSION, labels
from ai_assistant_operator.rollout_hash import rollout_hash
from ai_assistant_operator.templates import Template, container_of

Env = Mapping[str, str | dict[str, Any] | None]
"""Variables by name: a value, a `valueFrom`, or None for one that must not be there."""


@dataclass(frozen=True)
class Owner:
    """The Assistant that a child belongs to and goes with."""

    name: str
    namespace: str
    uid: str

    @property
    def reference(self) -> dict[str, Any]:
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def child(owner: Owner, api_version: str, kind: str, name: str, component: str, **fields: Any) -> dict[str, Any]:
    """One object of the Assistant; `fields` are all but its metadata."""
    made_of = {name: value for name, value in fields.get("spec", {}).items() if name != "replicas"}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": labels(owner.name, component),
            "annotations": {HASH_ANNOTATION: rollout_hash({**fields, "spec": made_of})},
            "ownerReferences": [owner.reference],
        },
        **fields,
    }


def filled(template: Template, owner: Owner, component: str, account: str, env: Env, **container_fields: Any) -> dict[str, Any]:
    """The template's pod with our labels, account and variables; ours win. Its security context stays as it is."""
    pod = template.copy()
    metadata, spec = pod["metadata"], pod["spec"]
    metadata["labels"] = {**metadata["labels"], **labels(owner.name, component)}
    spec["serviceAccountName"] = account
    # What was filled in from the old name of the field would contradict ours.
    spec.pop("serviceAccount", None)
    spec["automountServiceAccountToken"] = False
    container = container_of(spec, template.container["name"])
    container["env"] = with_env(container.get("env") or [], env)
    # A crash is told by the last lines of the log, without a right to read logs.
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    container.update(container_fields)
    return pod


def with_env(variables: list[dict[str, Any]], ours: Env) -> list[dict[str, Any]]:
    """The template's variables in their order, then ours, which take the place of those with the same name."""
    kept = [variable for variable in variables if variable.get("name") not in ours]
    return kept + [_variable(name, value) for name, value in ours.items() if value is not None]


def secret_value(name: str, key: str) -> dict[str, Any]:
    """A variable's value from a Secret, which the operator itself never reads."""
    return {"secretKeyRef": {"name": name, "key": key}}


def _variable(name: str, value: str | dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "value": value} if isinstance(value, str) else {"name": name, "valueFrom": value}
