"""Each image has what its process imports: the process is imported with nothing but the packages of its pinned file."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WITHOUT = """
import sys
from importlib import import_module

sys.path.insert(0, {source!r})
foreign = set({foreign!r})


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in foreign:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


for name in [name for name in sys.modules if name.partition(".")[0] in foreign]:
    del sys.modules[name]
sys.meta_path.insert(0, Missing())
for module in {modules!r}:
    import_module(module)
"""

PROCESSES = {
    "gateway": ["ai_assistant.cli", "ai_assistant.gateway.server", "ai_assistant.database.migrate"],
    "worker": [
        "ai_assistant.cli",
        "ai_assistant.worker.app",
        "ai_assistant.worker.engine_backend",
        "ai_assistant.provision.cli",
        "ai_assistant.engine.try_command",
    ],
    "bot": ["ai_assistant.cli", "ai_assistant.bot.app"],
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(process: str) -> set[str]:
    """Distributions in the process's file."""
    lines = (ROOT / f"requirements/{process}.txt").read_text().splitlines()
    return {normal(line.split("==")[0].split("[")[0]) for line in lines if "==" in line}


def foreign(process: str) -> list[str]:
    """What can be imported here, but not in an environment made from the process's file."""
    ours = pinned(process) | {"ai-assistant"}
    return sorted(name for name, owners in packages_distributions().items() if not ours & {normal(owner) for owner in owners})


def importing(process: str, modules: list[str]) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(source=str(ROOT / "src"), foreign=foreign(process), modules=modules)
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_pinned_file_has_all_that_the_process_imports(process: str) -> None:
    result = importing(process, PROCESSES[process])
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("process", "module"), [("gateway", "numpy"), ("gateway", "aiogram"), ("worker", "fastapi"), ("bot", "sqlalchemy")]
)
def test_a_process_has_nothing_of_the_others(process: str, module: str) -> None:
    assert f"No module named '{module}'" in importing(process, [module]).stderr


def test_the_environments_for_gpus_differ_by_the_runtime_only() -> None:
    for process in ("worker", "standalone"):
        plain, cuda = pinned(process), pinned(f"{process}-cuda")
        assert plain - cuda == {"onnxruntime"}
        added = {name for name in cuda - plain if not name.startswith("nvidia-")}
        assert added <= {"onnxruntime-gpu", "iniconfig", "pluggy", "pytest", "pytest-asyncio"}, "and what tests/gpu needs"


def test_every_pin_has_a_hash() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text, "download addresses are not recorded"
        for block in re.split(r"\n(?=\S)", text):
            assert "==" not in block or "--hash=sha256:" in block, f"{path.name}: {block}"
