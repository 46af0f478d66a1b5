"""Liveness and readiness, on both ports."""

from typing import Any

from fastapi import APIRouter, Request, Response

from ai_assistant.gateway.dependencies import State

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process serves requests; nothing else is looked at."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"description": "PostgreSQL or its tables are not there"}})
async def readyz(request: Request, response: Response, state: State) -> dict[str, Any]:
    """200 if PostgreSQL answers and has the tables. Redis is reported only: without it answers come later, but they come.
    Workers too: none is a normal state. Who is not signed in learns no names."""
    detailed = request.scope.get("principal") is not None
    ready, report = await state.readiness.report(detailed=detailed)
    response.status_code = 200 if ready else 503
    return report
