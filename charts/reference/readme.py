"""README.md of the chart: how to install it, its values, and what its parts may do."""

import json
from pathlib import Path
from typing import Any

import yaml

from reference.values import Value, leaves

VALUES = "<!-- values -->"
ROLE = "<!-- operator-role -->"


def readme(template: str, values: tuple[Value, ...], rules: list[dict[str, Any]]) -> str:
    """The template with its tables filled in."""
    return template.replace(VALUES, values_tables(values)).replace(ROLE, role_table(rules))


def values_tables(values: tuple[Value, ...]) -> str:
    """A table for all plain keys, and one per group."""
    plain = [value for value in values if not value.children]
    groups = [value for value in values if value.children]
    parts = [f"### {group.name}\n\n{group.description}\n\n{_table(list(leaves(group.children)))}" for group in groups]
    return "\n\n".join([_table(plain), *parts])


def _table(values: list[Value]) -> str:
    rows = [f"| `{value.name}` | {_default(value.default)} | {_cell(value.description)} |" for value in values]
    return "\n".join(["| Value | Default | Meaning |", "| --- | --- | --- |", *rows])


def _default(default: Any) -> str:
    return "" if default == "" else f"`{_cell(json.dumps(default, ensure_ascii=False))}`"


def role_table(rules: list[dict[str, Any]]) -> str:
    rows = [
        f"| {', '.join(f'`{name}`' for name in rule['resources'])} | {rule['apiGroups'][0] or 'core'} "
        f"| {', '.join(rule['verbs'])} | {_cell(rule['reason'])} |"
        for rule in rules
    ]
    return "\n".join(["| Resource | Group | Verbs | Why |", "| --- | --- | --- | --- |", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def read_rules(path: Path) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = yaml.safe_load(path.read_text())
    return rules
