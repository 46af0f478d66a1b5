"""A gateway in this process, on a migrated database of its own."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from servers import fresh_database

from ai_assistant.database.migrate import migrate
from ai_assistant.database.session import Database
from ai_assistant.gateway.app import create_app, create_internal_app
from ai_assistant.gateway.state import AppState
from ai_assistant.settings import GatewaySettings

TEMPLATES: dict[str, str] = {}


async def migrated_database(postgres_url: str) -> str:
    """URL of a new database with all tables; a copy, because that is quicker than migrating each time."""
    if postgres_url not in TEMPLATES:
        url = fresh_database(postgres_url)
        database = Database(url, pool_size=1)
        await migrate(database)
        await database.close()
        TEMPLATES[postgres_url] = url
    return fresh_database(postgres_url, template=TEMPLATES[postgres_url])


@dataclass
class Gateway:
    """Both applications of one gateway, with a client for each."""

    app: FastAPI
    client: httpx.AsyncClient
    internal: httpx.AsyncClient

    @property
    def state(self) -> AppState:
        state = self.app.state.gateway
        assert isinstance(state, AppState)
        return state


def make_settings(database_url: str, redis_url: str, **options: Any) -> GatewaySettings:
    urls = {"database_url": SecretStr(database_url), "redis_url": SecretStr(redis_url)}
    return GatewaySettings(_env_file=None, **urls, **options)  # type: ignore[call-arg]


@contextlib.asynccontextmanager
async def started_gateway(database_url: str, redis_url: str, **options: Any) -> AsyncIterator[Gateway]:
    settings = make_settings(database_url, redis_url, **options)
    app = create_app(settings)
    internal = create_internal_app(settings, app.state.gateway)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000") as client,
        httpx.AsyncClient(transport=httpx.ASGITransport(internal), base_url="http://gateway.internal:8001") as inside,
    ):
        yield Gateway(app, client, inside)
