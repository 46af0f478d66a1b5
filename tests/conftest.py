"""Fixtures for all tests."""

import os
from importlib.util import find_spec

# The operator's environment has nothing of the platform.
PLATFORM = ["servers", "demo_model", "export_environment", "platform_processes", "remote_server", "remote_desk"]
pytest_plugins = PLATFORM if find_spec("ai_assistant") else []

# settings of the person who runs the tests must not leak into them, but for the place of an environment that takes minutes
KEPT = "AI_ASSISTANT_EXPORT_PYTHON"
for name in [name for name in os.environ if name.startswith("AI_ASSISTANT_") or name in ("PORT", "INTERNAL_PORT")]:
    if name != KEPT:
        del os.environ[name]
