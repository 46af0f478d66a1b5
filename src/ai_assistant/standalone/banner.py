"""The one short block that `ai-assistant up` prints when it is open for business."""

import json
import os
import shutil
import sys
from pathlib import Path

from ai_assistant.settings import ClientSettings
from ai_assistant.standalone.environment import Plan


def ready_block(plan: Plan, logs: Path, seconds: float) -> str:
    """Where everything is and what to try first."""
    settings = plan.settings
    key = " -H 'Authorization: Bearer KEY'" if settings.api_keys or settings.service_keys else ""
    body = json.dumps({"message": "What is the capital of France?"})
    rows = {
        "Page": f"{plan.url}/",
        "API": f"curl {plan.url}/api/chat{key} -H 'Content-Type: application/json' -d '{body}'",
        "": f"curl '{plan.url}/api/status/TASK_ID?wait=60'{key}",
        "Terminal": chat_command(plan.port),
        "Data": str(plan.data_dir),
        "Logs": str(logs),
    }
    lines = [f"  {name:9} {value}" for name, value in rows.items()]
    return "\n".join(["", f"ai-assistant is ready ({seconds:.1f} s). Ctrl-C stops it.", "", *lines, ""])


def chat_command(port: int) -> str:
    """What to type for a chat in another terminal in the same folder."""
    program = Path(sys.executable).with_name("ai-assistant")
    if shutil.which("ai-assistant") != str(program) and program.exists():
        relative = os.path.relpath(program)
        return f"{port_variable(port)}{program if relative.startswith('..') else relative} chat"
    return f"{port_variable(port)}ai-assistant chat"


def port_variable(port: int) -> str:
    return "" if port == ClientSettings.model_fields["port"].default else f"PORT={port} "
