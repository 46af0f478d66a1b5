"""What those hear who may not, or not now."""

TEXTS: dict[str, dict[str, str]] = {}
