"""Fixtures for all tests."""

import os

pytest_plugins = ["servers", "demo_model", "export_environment", "platform_processes", "remote_server", "remote_desk"]

# settings of the person who runs the tests must not leak into them, but for the place of an environment that takes minutes
KEPT = "AI_ASSISTANT_EXPORT_PYTHON"
for name in [name for name in os.environ if name.startswith("AI_ASSISTANT_") or name in ("PORT", "INTERNAL_PORT")]:
    if name != KEPT:
        del os.environ[name]
