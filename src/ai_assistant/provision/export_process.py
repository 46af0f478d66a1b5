"""Runs the exporter in its own environment: finds that, shows progress, ends with its parent, and says what went wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ai_assistant.errors import ConfigurationError, ExportError, UnsupportedModelError
from ai_assistant.provision.disk import no_space
from ai_assistant.provision.progress import EXPORT, Progress

VARIABLE = "AI_ASSISTANT_EXPORT_PYTHON"
HOW_TO_GET_ONE = f"make it with `make export`, or set {VARIABLE} to the python of one (docs/exporting.md)"

_SCRIPT = Path(__file__).with_name("optimum_export.py")
_POLL_SECONDS = 0.25
_LOG_LINES = 8
_LOG_BYTES = 20_000


def find_export_python(given: Path | None, prefix: Path = Path(sys.prefix)) -> Path | None:
    """`given`, else the python of `.venv-export` beside this environment (`prefix`), which `make export` makes.

    Raises ConfigurationError where `given` cannot be run.
    """
    if given is None:
        beside = prefix.parent / ".venv-export"
        return beside / "bin/python" if (beside / ".ready").exists() else None
    # Not resolved: the link in a virtual environment is what makes it one.
    python = given.expanduser().absolute()
    if not (python.is_file() and os.access(python, os.X_OK)):
        raise ConfigurationError(f"{VARIABLE} is {given}, which is no program; name bin/python of the export environment.")
    return python


def run_export(python: Path, request: Mapping[str, Any], folder: Path, progress: Progress) -> dict[str, Any]:
    """Lets `optimum_export` under `python` write into `folder` (see there); returns its `result.json`.

    Raises ExportError, UnsupportedModelError, ConfigurationError or NoSpaceError. The exporter never outlives this process.
    """
    request_file, log_file = folder / "request.json", folder / "export.log"
    request_file.write_text(json.dumps({**request, "output": str(folder)}), encoding="utf-8")
    # Isolated (-I): neither this program's folder nor PYTHONPATH may shadow the environment's modules.
    command = [str(python), "-I", "-u", str(_SCRIPT), str(request_file)]
    with log_file.open("wb") as log:
        try:
            process = subprocess.Popen(
                command, cwd=folder, env=_environment(folder), stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise ConfigurationError(f"{python} cannot be run ({error.strerror}); {HOW_TO_GET_ONE}.") from error
        with process:
            try:
                _wait(process, folder, progress)
            except BaseException:
                process.kill()
                raise
    result = _result(folder)
    if process.returncode == 0 and result and "problem" not in result:
        return result
    raise _error(process.returncode, result, log_file, python)


def _wait(process: subprocess.Popen[bytes], folder: Path, progress: Progress) -> None:
    while True:
        progress(EXPORT, _bytes_in(folder), None)
        try:
            process.wait(_POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue


def _bytes_in(folder: Path) -> int:
    total = 0
    for file in folder.iterdir():
        with suppress(OSError):  # exporters remove what they have put together
            total += file.stat().st_size
    return total


def _environment(folder: Path) -> dict[str, str]:
    """Offline, on the processor, and with temporary files where there is room."""
    ours = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **ours, "TMPDIR": str(folder), "HF_HOME": str(folder / "hub")}


def _result(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _error(code: int, result: dict[str, Any] | None, log_file: Path, python: Path) -> Exception:
    problem, message = (result or {}).get("problem"), str((result or {}).get("message", ""))
    if problem == "unsupported":
        return UnsupportedModelError(message)
    if problem == "environment":
        return ConfigurationError(f"{python} has no environment for exports ({message}); {HOW_TO_GET_ONE}.")
    if problem == "space":
        return no_space(log_file.parent)
    if problem == "memory" or code == -signal.SIGKILL:
        return ExportError(
            "The export ran out of memory: it takes about five times the size of the model in fp32."
            " Choose a smaller model, or build the package on a larger machine."
        )
    log = _last_lines(log_file)
    if problem == "failed":
        return ExportError(f"optimum could not export this model ({message}). The last lines of its log:\n{log}")
    ending = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
    return ExportError(f"The exporter {ending}. The last lines of its log:\n{log}")


def _last_lines(log_file: Path) -> str:
    with log_file.open("rb") as log:
        log.seek(max(0, log_file.stat().st_size - _LOG_BYTES))
        lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-_LOG_LINES:]) or "  (nothing)"
