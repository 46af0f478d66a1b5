"""A channel's side of a gateway's delivery ledger, and the worker's side of its tasks in one statement."""

import uuid
from typing import Any

from sqlalchemy import text, update

from ai_assistant.database.models import Task
from gateway_app import Gateway


class Ledger:
    """Asks, answers, claims and reports."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.client = gateway.client

    async def ask(self, chat: int, message: str = "Hello", *, key: str | None = None, thread: int | None = None) -> str:
        target: dict[str, Any] = {"chat_id": chat, "language": "ru"} | ({"thread_id": thread} if thread else {})
        body = {"message": message, "user_id": f"tg:{chat}", "delivery": {"channel": "telegram", "target": target}}
        response = await self.client.post("/api/chat", json=body, headers={"Idempotency-Key": key} if key else {})
        assert response.status_code == 202, response.text
        return str(response.json()["task_id"])

    async def finish(self, task_id: str, answer: str = "An answer.", state: str = "succeeded") -> None:
        values = {"state": state, "checkpoint_text": answer, "finish_reason": "stop"}
        async with self.gateway.state.database.session() as session:
            await session.execute(update(Task).where(Task.id == uuid.UUID(task_id)).values(**values))

    async def answered(self, chat: int, answer: str = "An answer.", **options: Any) -> str:
        task_id = await self.ask(chat, **options)
        await self.finish(task_id, answer)
        return task_id

    async def claim(self, limit: int = 10, **options: Any) -> list[dict[str, Any]]:
        body = {"channel": "telegram", "worker": "bot-1", "limit": limit, **options}
        response = await self.client.post("/api/deliveries/claim", json=body)
        assert response.status_code == 200, response.text
        return list(response.json()["deliveries"])

    async def try_report(self, claimed: dict[str, Any], event: str, **more: Any) -> tuple[int, dict[str, Any]]:
        body = {"attempt": claimed["attempt"], "event": event, **more}
        response = await self.client.post(f"/api/deliveries/{claimed['id']}/report", json=body)
        return response.status_code, response.json()

    async def report(self, claimed: dict[str, Any], event: str, **more: Any) -> dict[str, Any]:
        status, body = await self.try_report(claimed, event, **more)
        assert status == 200, body
        return body

    async def listed(self, **query: Any) -> dict[str, Any]:
        response = await self.client.get("/api/deliveries", params={"channel": "telegram", **query})
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def states(self) -> list[str]:
        return [item["state"] for item in (await self.listed())["deliveries"]]

    async def expire(self) -> None:
        """As if every lease had run out."""
        await self.sql("UPDATE deliveries SET lease_until = clock_timestamp() - interval '1 second' WHERE state = 'sending'")

    async def sql(self, statement: str) -> int:
        async with self.gateway.state.database.session() as session:
            result = await session.execute(text(statement))
            return int(result.scalar() or 0) if result.returns_rows else 0
