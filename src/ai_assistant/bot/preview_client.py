"""What previews ask of the gateway: which answers are being written, where each is shown, how ready the assistants are."""

from dataclasses import dataclass
from typing import Any

from ai_assistant.bot.gateway_client import CHANNEL, GatewayClient


@dataclass(frozen=True, slots=True)
class WaitingAnswer:
    """One that is being written, or waits for that."""

    task_id: str
    target: dict[str, Any]
    author: str | None
    """Who asked (`tg:42`), where the ledger knows."""
    assistant: str | None
    preview_message_id: int | None

    @property
    def thread_id(self) -> int | None:
        return self.target.get("thread_id")


async def waiting_answers(gateway: GatewayClient, chat_id: int | None = None) -> list[WaitingAnswer]:
    """All of them, or those of one chat, in the order of their questions."""
    query: dict[str, str | int] = {"channel": CHANNEL, "state": "waiting", "limit": 100}
    if chat_id is not None:
        query["target"] = str(chat_id)
    found: list[WaitingAnswer] = []
    while True:
        page = await gateway.call("GET", "/api/deliveries", params=query)
        found.extend(
            WaitingAnswer(
                item["task_id"], item["target"], item.get("author"), item.get("assistant"), item.get("preview_message_id")
            )
            for item in page["deliveries"]
        )
        if page["next"] is None:
            return found
        query["after"] = page["next"]


async def is_next(gateway: GatewayClient, task_id: str, chat_id: int, thread_id: int | None) -> bool:
    """Whether all that was asked in this chat and topic before has arrived. Once true it stays so: later questions come after."""
    query: dict[str, str | int] = {"channel": CHANNEL, "target": chat_id, "is_open": "true"}
    found = (await gateway.call("GET", "/api/deliveries/questions", params=query))["questions"]
    here = [item["task_id"] for item in found if item["target"].get("thread_id") == thread_id]
    return here[:1] == [task_id]


async def note_preview(gateway: GatewayClient, task_id: str, message_id: int) -> None:
    """The message that shows the answer while it is written: its first part is made by editing that message."""
    body = {"task_id": task_id, "channel": CHANNEL, "message_id": message_id}
    await gateway.call("PUT", "/api/deliveries/preview", json=body)


async def assistants(gateway: GatewayClient) -> list[dict[str, Any]]:
    """Each with name, state and details."""
    found: list[dict[str, Any]] = (await gateway.call("GET", "/api/assistants"))["assistants"]
    return found
