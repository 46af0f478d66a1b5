"""What a checkpoint's folder says of the model for people: its name on a hub and its licence."""

from __future__ import annotations

import re
from pathlib import Path

# config.json holds a path in its place just as often.
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_LICENCE = re.compile(r"^license:[ \t]*[\"']?([\w.+-]+)", re.MULTILINE)


def hub_name(name_or_path: object) -> str | None:
    """The value of `_name_or_path` in config.json, where it is a name."""
    return name_or_path if isinstance(name_or_path, str) and _HUB_NAME.fullmatch(name_or_path) else None


def card_licence(folder: Path) -> str | None:
    """What the head of the model card (README.md) says."""
    try:
        _, head, _ = (folder / "README.md").read_text(encoding="utf-8").split("---", 2)
    except (OSError, ValueError):
        return None
    match = _LICENCE.search(head)
    return match[1] if match else None
