"""What the bot asks of the gateway about messages and their answers."""

from typing import Any
from urllib.parse import quote

from ai_assistant.bot.gateway_client import CHANNEL, GatewayClient


class ChatClient:
    """One per bot. Every call raises GatewayRefusalError for a refusal, AssistantError if the gateway stays away."""

    def __init__(self, gateway: GatewayClient) -> None:
        self._gateway = gateway

    async def ask(self, body: dict[str, Any], target: dict[str, Any], key: str) -> dict[str, Any]:
        """Hand a turn over, to be answered to `target`. Returns the 202's body; the same key makes nothing twice."""
        body = {**body, "delivery": {"channel": CHANNEL, "target": target}}
        return await self._gateway.call("POST", "/api/chat", json=body, headers={"Idempotency-Key": key})

    async def move(self, old: int, new: int) -> None:
        """What is owed to a group, its conversations and its settings belong to its new id."""
        body = {"channel": CHANNEL, "from_chat_id": old, "to_chat_id": new}
        await self._gateway.call("POST", "/api/deliveries/move", json=body)

    async def remember(self, user: str, settings: dict[str, Any]) -> None:
        """Merge into the user's settings; None removes a key."""
        await self._gateway.call("PATCH", f"/api/users/{quote(user, safe=':')}", json={"settings": settings})

    async def asked(self, chat_id: int, message_id: int) -> list[dict[str, Any]]:
        """How a message was asked, oldest first; edits ask again."""
        return await self._questions(target=chat_id, message_id=message_id)

    async def unanswered(self, chat_id: int) -> list[dict[str, Any]]:
        """What a chat waits for, oldest first."""
        return await self._questions(target=chat_id, is_open="true")

    async def last(self, chat_id: int, conversation_id: str) -> dict[str, Any] | None:
        """The last question of a conversation."""
        found = await self._questions(target=chat_id, conversation_id=conversation_id)
        return found[-1] if found else None

    async def _questions(self, **query: str | int) -> list[dict[str, Any]]:
        params = {"channel": CHANNEL, **query}
        found: list[dict[str, Any]] = (await self._gateway.call("GET", "/api/deliveries/questions", params=params))["questions"]
        return found

    async def withdraw(self, task_id: str) -> None:
        """Cancel, and deliver nothing of it."""
        await self._gateway.call("DELETE", f"/api/chat/{task_id}", params={"withdraw": "true"})
