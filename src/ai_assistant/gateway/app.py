"""The gateway's two HTTP applications: the public one, and the internal one for metrics and the operator."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.middleware import Middleware

from ai_assistant import __version__
from ai_assistant.gateway import error_handlers
from ai_assistant.gateway.access import AccessMiddleware, ServiceTokenMiddleware
from ai_assistant.gateway.body import BodyMiddleware
from ai_assistant.gateway.middleware import RequestMiddleware
from ai_assistant.gateway.routes import (
    assistants,
    chat,
    conversations,
    deliveries,
    docs,
    health,
    internal,
    openai,
    page,
    questions,
    session,
    stats,
    users,
)
from ai_assistant.gateway.state import AppState
from ai_assistant.settings import GatewaySettings

PUBLIC_ROUTERS = (
    chat.router,
    conversations.router,
    users.router,
    stats.router,
    assistants.router,
    deliveries.router,
    questions.router,
    session.router,
    openai.router,
    health.router,
    docs.router,
    page.router,
)
INTERNAL_ROUTERS = (internal.router, health.router)

NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
"""We have our own request ids, numbers and logs."""


def create_app(settings: GatewaySettings) -> FastAPI:
    """The API and the page. `app.state.gateway` is the AppState, started and stopped by the lifespan."""
    state = AppState.build(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await state.start()
        try:
            yield
        finally:
            await state.stop()

    access = Middleware(AccessMiddleware, keyring=state.keyring, allowed_hosts=settings.allowed_hosts)
    return assemble("ai-assistant", state, access, PUBLIC_ROUTERS, lifespan=lifespan, openapi_url="/openapi.json")


def create_internal_app(settings: GatewaySettings, state: AppState) -> FastAPI:
    """The second port; shares the state of the public application."""
    token = settings.service_token.get_secret_value() if settings.service_token else None
    access = Middleware(ServiceTokenMiddleware, token=token)
    return assemble("ai-assistant internal", state, access, INTERNAL_ROUTERS, openapi_url=None)


def assemble(
    title: str,
    state: AppState,
    access: Middleware,
    routers: tuple[APIRouter, ...],
    *,
    openapi_url: str | None,
    lifespan: Callable[[FastAPI], Any] | None = None,
) -> FastAPI:
    """An application in our order: everything is counted and logged, then let in, then its body is read."""
    app = FastAPI(
        title=title,
        version=__version__,
        lifespan=lifespan,
        openapi_url=openapi_url,
        docs_url=None,
        redoc_url=None,
        telemetry=NO_TELEMETRY,
        middleware=[
            Middleware(RequestMiddleware, metrics=state.metrics),
            access,
            Middleware(BodyMiddleware, max_bytes=state.settings.max_body_bytes),
        ],
    )
    app.state.gateway = state
    error_handlers.install(app)
    for router in routers:
        app.include_router(router)
    return app
