"""The gateway's delivery ledger, as the bot speaks to it."""

from typing import Any

from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from ai_assistant.metrics import BotMetrics

CHANNEL = "telegram"
CLAIM_WAIT_SECONDS = 30
LEASE_SECONDS = 30
"""Longer than one sending may take, so that nobody else begins meanwhile."""
LOST = ("stale_attempt", "delivery_not_found")
"""Codes of a delivery that somebody else has."""


class DeliveryClient:
    """Raises what `GatewayClient.call` raises."""

    def __init__(self, gateway: GatewayClient, metrics: BotMetrics | None = None) -> None:
        self._gateway = gateway
        self._metrics = metrics

    async def claim(self, worker: str, limit: int) -> list[dict[str, Any]]:
        """What is to be delivered, as soon as there is something; [] after a while without."""
        body = {"channel": CHANNEL, "worker": worker, "limit": limit, "wait": CLAIM_WAIT_SECONDS, "lease_seconds": LEASE_SECONDS}
        claimed: list[dict[str, Any]] = (await self._gateway.call("POST", "/api/deliveries/claim", json=body))["deliveries"]
        return claimed

    async def report(self, item: dict[str, Any], event: str, **details: Any) -> None:
        """What became of a claimed delivery. Raises GatewayRefusalError when another claim holds it by now."""
        body = {"attempt": item["attempt"], "event": event, "lease_seconds": LEASE_SECONDS, **details}
        try:
            await self._gateway.call("POST", f"/api/deliveries/{item['id']}/report", json=body)
        except GatewayRefusalError as error:
            if self._metrics is not None and error.reason in LOST:
                self._metrics.leases_lost.inc()
            raise
        if self._metrics is not None:
            self._metrics.reports.labels(event).inc()
