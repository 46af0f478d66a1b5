"""Who makes the graph of a model: our own writer where it knows the family, else optimum in an environment of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ai_assistant.errors import ConfigurationError, UnsupportedArchitectureError, UnsupportedModelError
from ai_assistant.provision.checkpoint import Checkpoint
from ai_assistant.provision.checkpoints import open_checkpoint
from ai_assistant.provision.export_process import HOW_TO_GET_ONE, find_export_python
from ai_assistant.provision.precision_choice import AUTO as ANY_PRECISION

AUTO, OWN, OPTIMUM = "auto", "own", "optimum"
EXPORTERS = (AUTO, OWN, OPTIMUM)
_PRECISION = "fp32"


@dataclass(frozen=True)
class Exporter:
    """The choice that was made for a build; of several precisions, joined by commas, and of `auto` any will do."""

    name: str
    precision: str
    python: Path | None

    def __post_init__(self) -> None:
        if self.name not in EXPORTERS:
            raise ConfigurationError(f"There is no exporter {self.name!r}; choose one of {', '.join(EXPORTERS)}.")
        if self.name == OPTIMUM:
            self._check_precision()

    def open(self, path: Path) -> Checkpoint | None:
        """The model for our own graph writer, or None where optimum is to export it.

        Raises UnsupportedModelError, which says what is unsupported and what would help: optimum for an architecture only.
        """
        if self.name != OPTIMUM:
            try:
                return open_checkpoint(path)
            except UnsupportedArchitectureError as error:
                if self.name == OWN or not path.is_dir():
                    raise
                if find_export_python(self.python) is None:
                    raise UnsupportedModelError(
                        f"{error.message} optimum may be able to export it, which needs an environment of its own:"
                        f" {HOW_TO_GET_ONE}."
                    ) from error
                self._check_precision(error.message)
        if not path.is_dir():
            raise UnsupportedModelError(
                f"{path.name} is no checkpoint in safetensors, and optimum exports nothing else; choose the original of this"
                f" model, or --exporter {OWN}."
            )
        return None

    def required_python(self) -> Path:
        """The program of the export environment; raises ConfigurationError where there is none."""
        python = find_export_python(self.python)
        if python is None:
            raise ConfigurationError(f"There is no environment for exports; {HOW_TO_GET_ONE}.")
        return python

    def _check_precision(self, reason: str = "") -> None:
        if not {_PRECISION, ANY_PRECISION} & set(self.precision.split(",")):
            raise UnsupportedModelError(
                f"{reason} What optimum exports is served in {_PRECISION} only; build it with --precision {_PRECISION}.".lstrip()
            )
