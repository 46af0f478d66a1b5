"""The operator is a distribution of its own, which is small to load."""

import pkgutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import ai_assistant_operator

ROOT = Path(__file__).parents[2]
MODULES = sorted(f"ai_assistant_operator.{module.name}" for module in pkgutil.iter_modules(ai_assistant_operator.__path__))


def test_both_distributions_have_one_version() -> None:
    platform = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version("ai-assistant-operator") == platform


def test_typed_models_of_kubernetes_are_never_loaded() -> None:
    """They cost 140 MB and 2 s; children are dicts."""
    script = (
        "import sys\nfrom importlib import import_module\n"
        f"for name in {[name for name in MODULES if not name.endswith('__main__')]!r}: import_module(name)\n"
        "print([name for name in sys.modules if name.startswith('kubernetes.') and '.models.' in name][:3])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_folder_operator_does_not_hide_the_standard_library() -> None:
    assert not (ROOT / "operator/__init__.py").exists()
    assert not (ROOT / "tests/operator/__init__.py").exists()
