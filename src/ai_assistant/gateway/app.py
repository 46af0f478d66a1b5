"""The gateway's two HTTP applications: the public one, and the internal one for metrics and the operator."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from ai_assistant.gateway.state import AppState
from ai_assistant.settings import GatewaySettings


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

    app = FastAPI(lifespan=lifespan)
    app.state.gateway = state
    return app
