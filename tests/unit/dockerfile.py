"""Just enough of a Dockerfile parser for the tests."""

import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """One `FROM ... AS name` with its instructions; `base` is an image or another stage."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [text for name, text in self.instructions if name == instruction]


def stages(path: Path) -> dict[str, Stage]:
    """Stages by name. A stage has the instructions of the stage that it is made from, too."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    current: Stage | None = None
    for line in re.sub(r"\\\n", " ", text).splitlines():
        instruction, _, arguments = line.strip().partition(" ")
        if instruction == "FROM":
            base, name = arguments.split(" AS ")
            inherited = found[base].instructions if base in found else []
            current = found[name] = Stage(name, base, list(inherited))
        elif instruction and current is not None:
            current.instructions.append((instruction, " ".join(arguments.split())))
    return found
