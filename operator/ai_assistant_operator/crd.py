"""Writes the CRD out of the models: `python -m ai_assistant_operator.crd` (`--check` only compares, for CI)."""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from ai_assistant_operator.schema_parts import Part
from ai_assistant_operator.spec import NAME_RULES, AssistantSpec
from ai_assistant_operator.status_schema import AssistantStatus

GROUP, VERSION, KIND, PLURAL = "ai-assistant.dev", "v1alpha1", "Assistant", "assistants"
PATH = Path(__file__).resolve().parents[2] / "charts/ai-assistant/crds/assistants.yaml"
REVISION = 1
"""Goes up with every change of the schema: an older release must not put its definition in the place of a newer one."""

Schema = dict[str, Any]
_HEADER = "# Written by `make generate` from operator/ai_assistant_operator/spec.py; edit that instead.\n"
_COLUMNS = (
    ("Phase", "string", ".status.phase", "What it is doing"),
    ("Model", "string", ".status.model.source", "The model that workers run"),
    ("Ready", "integer", ".status.readyReplicas", "Workers that take work"),
    ("Desired", "integer", ".status.desiredReplicas", "Workers that are wanted"),
    ("Queue", "integer", ".status.queue.depth", "Requests that wait"),
    ("Oldest", "integer", ".status.queue.oldestSeconds", "Seconds that the oldest of them has waited"),
    ("Age", "date", ".metadata.creationTimestamp", "Since when there is this Assistant"),
)
_WIDE_COLUMNS = (("Message", "string", ".status.message", "The state in a sentence"),)


def definition() -> Schema:
    """The CustomResourceDefinition."""
    columns = [
        {"name": name, "type": kind, "jsonPath": path, "description": description} | ({"priority": 1} if wide else {})
        for group, wide in ((_COLUMNS, False), (_WIDE_COLUMNS, True))
        for name, kind, path, description in group
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            "annotations": {f"{GROUP}/crd-version": str(REVISION), "helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["asst"],
                "categories": ["all", "ai-assistant"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": columns,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "schema": {"openAPIV3Schema": _root()},
                }
            ],
        },
    }


def rendered() -> str:
    """The file's text."""
    return _HEADER + yaml.dump(definition(), sort_keys=False, allow_unicode=True, width=120)


def _root() -> Schema:
    return {
        "type": "object",
        "description": "An assistant: a model, who may talk to it and how, and how much of the cluster it gets.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
            "kind": {"type": "string", "description": KIND},
            "metadata": {"type": "object"},
            "spec": structural(AssistantSpec),
            "status": structural(AssistantStatus),
        },
        **NAME_RULES,
    }


def structural(model: type[Part]) -> Schema:
    """The model's JSON schema as Kubernetes wants it: no references, no alternatives, no titles, no `null`."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _plain(schema, schema.get("$defs", {}))


def _plain(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    if reference := schema.get("$ref"):
        schema = {**definitions[reference.rpartition("/")[2]], **{key: value for key, value in schema.items() if key != "$ref"}}
    if alternatives := schema.get("anyOf"):
        (only,) = [each for each in alternatives if each.get("type") != "null"]
        outer = {key: value for key, value in schema.items() if key != "anyOf"}
        return _plain(_with_all_rules(only, outer), definitions)
    plain = {key: value for key, value in schema.items() if key not in {"title", "$defs", "additionalProperties"}}
    if "properties" in schema:
        plain["properties"] = {name: _plain(each, definitions) for name, each in schema["properties"].items()}
        if isinstance(plain.get("default"), dict):
            plain["default"] = {name: value for name, value in plain["default"].items() if value is not None}
    if isinstance(schema.get("additionalProperties"), dict):
        plain["additionalProperties"] = _plain(schema["additionalProperties"], definitions)
    if "items" in schema:
        plain["items"] = _plain(schema["items"], definitions)
    if plain.get("default", "") is None:
        del plain["default"]
    if "description" in plain:
        plain["description"] = " ".join(plain["description"].split())
    if plain.get("type") == "integer":
        plain.setdefault("format", "int32")
    return plain


def _with_all_rules(inner: Schema, outer: Schema) -> Schema:
    key = "x-kubernetes-validations"
    rules = [*inner.get(key, ()), *outer.get(key, ())]
    return {**inner, **outer, **({key: rules} if rules else {})}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the file with the models, and write nothing")
    text = rendered()
    if parser.parse_args(arguments).check:
        if PATH.exists() and PATH.read_text() == text:
            return 0
        sys.stderr.write(f"error: {PATH.name} is not what the models say; run `make generate`\n")
        return 1
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
