"""What a status is made of: everything that was seen and decided about one Assistant at one moment. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ai_assistant_operator.model_version import ModelPackage, ModelVersion
from ai_assistant_operator.problems import Problem


@dataclass(frozen=True, kw_only=True)
class Provisioning:
    """The Job that makes the wanted version, or the pause before the next one."""

    attempt: int
    is_running: bool
    progress: Mapping[str, Any] = field(default_factory=dict)
    """Of a running one: stage, bytes, total, bytesPerSecond, etaSeconds."""
    last_failure: Problem | None = None
    """Of the attempt before this one, or of this one if it is not running; it stands until one succeeds."""
    next_attempt_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Observation:
    """All that the status tells of."""

    name: str
    generation: int
    paused: bool = False
    deleting: bool = False

    models: Literal["package", "remote", "pod"] = "package"
    """Where answers come from: a package of the shared store, a model server elsewhere, or what each worker builds itself."""
    wanted: ModelVersion | None = None
    package: ModelPackage | None = None
    """What workers run, which may be older than what is wanted."""
    previous: tuple[Mapping[str, Any], ...] = ()
    provisioning: Provisioning | None = None

    desired: int = 0
    replicas: int = 0
    ready: int = 0
    is_rolling: bool = False
    """Pods of an older template are still there."""

    decision: Mapping[str, Any] | None = None
    """replicas, reason (a sentence), at."""
    queue: Mapping[str, Any] | None = None
    """depth, oldestSeconds; None: not known now."""
    problems: tuple[Problem, ...] = ()
    """As `ranked` gives them, without the provisioner's last failure."""

    @property
    def is_wanted_there(self) -> bool:
        """Whether workers can be started with what is asked for."""
        if self.models != "package":
            return True
        return self.package is not None and self.wanted is not None and self.package.version.name == self.wanted.name

    @property
    def can_answer(self) -> bool:
        """Whether there is some model, be it an older one."""
        return self.models != "package" or self.package is not None
