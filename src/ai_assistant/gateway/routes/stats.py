"""Numbers about the whole platform, for services (an administrator's /stats)."""

import dataclasses

from fastapi import APIRouter

from ai_assistant import users
from ai_assistant.deliveries import listing
from ai_assistant.gateway.dependencies import Caller, State
from ai_assistant.gateway.schemas import PlatformStats

router = APIRouter(prefix="/api/stats", tags=["stats"])


@router.get("")
async def read_platform_stats(state: State, principal: Caller) -> PlatformStats:
    """How many use the platform, and what is still to be delivered."""
    principal.require_service("Only a service key may read the platform's numbers.")
    async with state.database.session() as session:
        totals = await users.totals(session)
        open_now = await listing.open_totals(session)
    deliveries: dict[str, dict[str, int]] = {}
    for item in open_now:
        deliveries.setdefault(item.channel, {})[item.state] = item.count
    return PlatformStats(**dataclasses.asdict(totals), deliveries=deliveries)
