"""How ready the assistants are, asked once for all the answers that wait for them."""

import asyncio
import math
from dataclasses import dataclass
from typing import Any

from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.preview_client import assistants

FRESH_SECONDS = 3.0

DEFAULT = "assistant"
"""The gateway's own choice where a request names none."""

BROKEN = frozenset({"failed", "error", "degraded", "unavailable", "deleted"})


@dataclass(frozen=True, slots=True)
class Unready:
    """Why an assistant does not answer yet."""

    is_broken: bool
    percent: int | None = None
    """Of the model's preparation, where it is known."""
    why: str | None = None


class Readiness:
    """One per bot."""

    def __init__(self, gateway: GatewayClient) -> None:
        self._gateway = gateway
        self._lock = asyncio.Lock()
        self._known: list[dict[str, Any]] = []
        self._asked_at = float("-inf")

    async def of(self, name: str | None) -> Unready | None:
        """None: ready, as far as anybody knows. Raises AssistantError if the gateway stays away."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now - self._asked_at >= FRESH_SECONDS:
                self._known = await assistants(self._gateway)
                self._asked_at = asyncio.get_running_loop().time()
        return unready(choose(self._known, name))


def choose(known: list[dict[str, Any]], name: str | None) -> dict[str, Any] | None:
    """The assistant that answers a request with this name, or without one."""
    for item in known:
        if item["name"] == (name or DEFAULT):
            return item
    return known[0] if name is None and len(known) == 1 else None


def unready(assistant: dict[str, Any] | None) -> Unready | None:
    if assistant is None or assistant["state"] == "ready":
        return None
    details = assistant.get("details") or {}
    progress, message = details.get("progress"), details.get("message")
    return Unready(
        is_broken=assistant["state"] in BROKEN,
        percent=round(progress) if isinstance(progress, int | float) and math.isfinite(progress) else None,
        why=message if isinstance(message, str) and message else None,
    )
