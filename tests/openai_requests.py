"""What the tests of /v1 share: a gateway with a key, a scripted worker, and the one task that a test makes."""

import asyncio
from typing import Any

from fake_worker import FakeWorker
from sqlalchemy import select

from ai_assistant.database.models import Task
from gateway_server import Served

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def worker(gateway: Served, **options: Any) -> FakeWorker:
    return FakeWorker(gateway.state.database, gateway.state.settings.redis_url.get_secret_value(), **options)


async def only_task(gateway: Served) -> Task:
    async with gateway.state.database.session() as session:
        return (await session.scalars(select(Task))).one()


async def final_state(gateway: Served, state: str) -> Task:
    async with asyncio.timeout(5):
        while (task := await only_task(gateway)).state != state:
            await asyncio.sleep(0.02)
    return task
