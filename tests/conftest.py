"""Fixtures for all tests."""

import os

pytest_plugins = ["servers", "demo_model", "platform_processes", "remote_server"]

# settings of the person who runs the tests must not leak into them
for name in [name for name in os.environ if name.startswith("AI_ASSISTANT_") or name in ("PORT", "INTERNAL_PORT")]:
    del os.environ[name]
