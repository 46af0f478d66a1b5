"""What the bot asks of the gateway about people, chats and itself."""

from typing import Any, BinaryIO
from urllib.parse import quote

from ai_assistant.bot.gateway_client import CHANNEL, GatewayClient, GatewayRefusalError


class UserClient:
    """One per bot. Every call raises AssistantError if the gateway stays away, GatewayRefusalError for a refusal."""

    def __init__(self, gateway: GatewayClient) -> None:
        self._gateway = gateway

    async def settings(self, name: str) -> dict[str, Any]:
        """A user's settings; {} for one who is not known yet."""
        try:
            found: dict[str, Any] = (await self._gateway.call("GET", address(name)))["settings"]
        except GatewayRefusalError as error:
            if error.reason != "user_not_found":  # a wrong key, say: nobody may take that for an empty list
                raise
            return {}
        return found

    async def remember(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Merge into the user's settings; None removes a key. Returns all of them."""
        merged: dict[str, Any] = (await self._gateway.call("PATCH", address(name), json={"settings": settings}))["settings"]
        return merged

    async def forget(self, name: str) -> None:
        await self._gateway.call("DELETE", address(name))

    async def export(self, name: str, file: BinaryIO) -> bool:
        """Write all that is stored about the user into the file, as JSON. False: nothing is stored."""
        try:
            await self._gateway.download(f"{address(name)}/export", file)
        except GatewayRefusalError as error:
            if error.reason != "user_not_found":
                raise
            return False
        return True

    async def stats(self, name: str) -> dict[str, Any] | None:
        """The user's numbers; None where there are none yet."""
        try:
            return await self._gateway.call("GET", f"{address(name)}/stats")
        except GatewayRefusalError as error:
            if error.reason != "user_not_found":
                raise
            return None

    async def all_stats(self) -> dict[str, Any]:
        """The whole service's numbers."""
        return await self._gateway.call("GET", "/api/stats")

    async def assistants(self) -> list[dict[str, Any]]:
        """All assistants with `name`, `state` and `details`."""
        found: list[dict[str, Any]] = (await self._gateway.call("GET", "/api/assistants"))["assistants"]
        return found

    async def broadcast(self, text: str, key: str) -> dict[str, Any]:
        """Owe a text to every private chat; the same key twice makes nothing twice."""
        return await self._gateway.call("POST", "/api/deliveries/broadcast", json={"channel": CHANNEL, "text": text, "key": key})

    async def stop_answers(self, chat_id: int) -> int:
        """Cancel what is being written for a chat. Returns how many answers that were."""
        task_ids = await self._gateway.unfinished(chat_id)
        for task_id in reversed(task_ids):  # the last one first: none of them begins because another one has ended
            await self._gateway.cancel(task_id)
        return len(task_ids)


def address(name: str) -> str:
    return f"/api/users/{quote(name, safe=':')}"
