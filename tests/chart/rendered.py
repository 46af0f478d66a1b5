"""Objects that a chart rendered."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[2] / "charts/ai-assistant"
Object = dict[str, Any]
POD_PATHS: dict[str, tuple[str, ...]] = {
    "Deployment": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "PodTemplate": ("template", "spec"),
    "Pod": ("spec",),
}


class HelmError(Exception):
    """Helm refuses; the text is what it says."""


@dataclass(frozen=True)
class Rendered:
    """All objects, in the order of the chart."""

    objects: tuple[Object, ...]
    text: str

    @classmethod
    def parse(cls, text: str) -> "Rendered":
        return cls(tuple(thing for thing in yaml.safe_load_all(text) if thing), text)

    def names(self, kind: str) -> list[str]:
        return sorted(thing["metadata"]["name"] for thing in self.objects if thing["kind"] == kind)

    def get(self, kind: str, name: str) -> Object:
        (found,) = (thing for thing in self.objects if (thing["kind"], thing["metadata"]["name"]) == (kind, name))
        return found

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Kind/name and pod spec of everything that becomes pods."""
        for thing in self.objects:
            if path := POD_PATHS.get(thing["kind"]):
                spec: Any = thing
                for part in path:
                    spec = spec[part]
                yield f"{thing['kind']}/{thing['metadata']['name']}", spec

    def pod(self, name: str) -> Object:
        return dict(self.pods())[name]

    def container(self, name: str, container: str | None = None) -> Object:
        """The container of that name, or the only one."""
        containers = self.pod(name)["containers"] + self.pod(name).get("initContainers", [])
        (found,) = (item for item in containers if container in (None, item["name"]))
        return found

    def env(self, name: str, container: str | None = None) -> dict[str, Any]:
        """Variable: its value, or where it comes from."""
        return {item["name"]: item.get("value", item.get("valueFrom")) for item in self.container(name, container)["env"]}


Render = Callable[..., Rendered]
"""`render(values, *, chart)`: the release `ai` in the namespace `talk`; raises HelmError."""
