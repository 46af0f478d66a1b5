"""values.schema.json: what Helm checks values against. Keys that are not in values.yaml are refused."""

from typing import Any

from reference.values import Value, ValuesError

DEFINITIONS: dict[str, dict[str, Any]] = {
    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "pullPolicy": {"type": "string", "enum": ["Always", "IfNotPresent", "Never"]},
    "quantity": {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"},
    "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    "objects": {"type": "array", "items": {"type": "object"}},
    "resources": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "requests": {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
            "limits": {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
        },
    },
}
TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def schema(values: tuple[Value, ...]) -> dict[str, Any]:
    """The schema of the whole file. Raises ValuesError for a default whose type cannot be told."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart ai-assistant",
        "type": "object",
        "additionalProperties": False,
        "definitions": DEFINITIONS,
        # what a chart gets that is part of another one
        "properties": {"global": {"type": "object"}} | {value.path[-1]: _of(value) for value in values},
    }


def _of(value: Value) -> dict[str, Any]:
    if value.children:
        properties = {child.path[-1]: _of(child) for child in value.children}
        found = {"type": "object", "additionalProperties": False, "properties": properties}
    elif "$ref" in value.hint:
        # a reference alone: in draft 7 nothing beside it counts
        return {"description": value.description, "allOf": [value.hint]}
    else:
        found = ({} if "type" in value.hint else {"type": _type(value)}) | value.hint
    return {"description": value.description} | found


def _type(value: Value) -> str:
    try:
        return TYPES[type(value.default)]
    except KeyError as error:
        raise ValuesError(f"values.yaml: the type of {value.name} cannot be told from its default: add a `# @schema`") from error
