"""values.yaml with the comments that describe its values."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DESCRIPTION = "# -- "
HINT = "# @schema "


class ValuesError(Exception):
    """values.yaml is not documented as it should be; the text names the line."""


@dataclass(frozen=True)
class Value:
    """A key of values.yaml. `children` is empty for what is not looked into: lists, free maps and plain values."""

    path: tuple[str, ...]
    default: Any
    description: str
    hint: dict[str, Any]
    children: tuple["Value", ...] = field(default=())

    @property
    def name(self) -> str:
        return ".".join(self.path)


def read(path: Path) -> tuple[Value, ...]:
    """All keys of the file. Raises ValuesError for a key without a description."""
    text = path.read_text()
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise ValuesError(f"{path.name} is no map")
    return tuple(_values(root, text.splitlines(), ()))


def leaves(values: tuple[Value, ...]) -> Iterator[Value]:
    """All values without children, in the order of the file."""
    for value in values:
        yield from leaves(value.children) if value.children else (value,)


def _values(node: yaml.MappingNode, lines: list[str], parents: tuple[str, ...]) -> Iterator[Value]:
    for key, child in node.value:
        path = (*parents, str(key.value))
        description, hint = _comment(lines, key.start_mark.line, ".".join(path))
        # a map with a type of its own is one value: resources, labels and the like
        is_group = isinstance(child, yaml.MappingNode) and child.value and not hint
        children = tuple(_values(child, lines, path)) if is_group else ()
        yield Value(path, yaml.safe_load(yaml.serialize(child)), description, hint, children)


def _comment(lines: list[str], line: int, name: str) -> tuple[str, dict[str, Any]]:
    """Description and hint from the comment lines right above `line`."""
    above: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        above.insert(0, lines[line].strip())
    starts = [index for index, text in enumerate(above) if text.startswith(DESCRIPTION)]
    if not starts:
        raise ValuesError(f"values.yaml: {name} has no `{DESCRIPTION.strip()}` comment")
    words, hint = [], dict[str, Any]()
    for text in above[starts[-1] :]:
        if text.startswith(HINT):
            hint |= json.loads(text.removeprefix(HINT))
        else:
            words.append(re.sub(r"^#( --)? ?", "", text))
    return " ".join(words), hint
