"""What Telegram has taken and the gateway may not know yet: told later, it is not sent again. Lost with the process."""

from typing import Any

MOST_DELIVERIES = 10_000
"""Somebody else may finish what began here, and nobody tells us."""


class SentParts:
    """Message ids by delivery and part."""

    def __init__(self) -> None:
        self._ids: dict[str, dict[int, int]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def of(self, item: dict[str, Any]) -> dict[int, int]:
        """Those of a claimed delivery, to be added to."""
        ids = self._ids.pop(item["id"], {})
        self._ids[item["id"]] = ids  # the last to be forgotten
        if len(self._ids) > MOST_DELIVERIES:
            del self._ids[next(iter(self._ids))]
        return ids

    def forget(self, item: dict[str, Any]) -> None:
        """It is delivered, and the gateway knows."""
        self._ids.pop(item["id"], None)
