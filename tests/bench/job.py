"""What a contender's process is asked to do, as it crosses the border between two Python environments."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.workload import Chat, load_workload

SINGLE_PROMPT_TOKENS = 200
SINGLE_OUTPUT_TOKENS = 64


@dataclass(frozen=True)
class MixedRun:
    """The first `num_chats` chats of the workload in a closed loop with `in_flight` at a time."""

    measure: str
    in_flight: int
    num_chats: int


@dataclass(frozen=True)
class Job:
    model: str
    """Folder or file of the model, as the contender wants it."""
    workload: str
    folder: str
    """For logs and the like."""
    threads: int
    program: str = ""
    """An executable that the contender starts."""
    mixed: list[MixedRun] = field(default_factory=list)
    single_repeats: int = 0
    """One request at a time: that many prompts of 200 tokens with 64 tokens of answer; 0: left out."""
    extras: list[str] = field(default_factory=list)
    """Measurements that only this contender knows."""
    is_quick: bool = False

    @classmethod
    def read(cls, path: Path) -> Job:
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**content, "mixed": [MixedRun(**run) for run in content["mixed"]]})

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def chats(self, count: int | None = None) -> list[Chat]:
        return load_workload(Path(self.workload))[:count]
