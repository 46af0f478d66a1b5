"""A platform with the demo model and a bot at a Telegram of the tests, once per module: each test takes people of its own."""

import time
from pathlib import Path
from typing import Any

import httpx
from platform_processes import Platform
from telegram import BotApi, Group

from telegram_bot import deliveries, start_bot, wait_until

LONG = "Tell me a long story about a fox and a river."


class Town:
    """Everything runs; what people do is done by `api`."""

    def __init__(self, platform: Platform, api: BotApi, folder: Path, **bot: str) -> None:
        self.platform, self.api, self.folder = platform, api, folder
        self.gateway = platform.gateway()
        self.worker = platform.worker()
        self.bot = start_bot(platform, api, folder, **bot)

    def answers(self, chat_id: int, count: int, seconds: float = 60) -> list[str]:
        """The texts of the chat, once there are so many and all that is owed there is delivered."""
        self.api.wait_for(count, seconds, chat_id=chat_id)
        self.wait_delivered(chat_id, seconds)
        return self.api.texts(chat_id)

    def owed(self, chat_id: int) -> list[dict[str, Any]]:
        return deliveries(self.platform, target=str(chat_id))

    def wait_delivered(self, chat_id: int, seconds: float = 60) -> None:
        over = {"delivered", "skipped", "dead"}
        wait_until(lambda: all(item["state"] in over for item in self.owed(chat_id)), seconds, lambda: str(self.owed(chat_id)))

    def task_of(self, chat_id: int) -> str:
        """The chat's newest task, once there is one that is not over."""
        wait_until(lambda: any(item["state"] == "waiting" for item in self.owed(chat_id)), 20, f"nothing waits in {chat_id}")
        return str(self.owed(chat_id)[-1]["task_id"])

    def slots_in_use(self) -> float:
        """Answers that the worker is computing."""
        port = self.worker._environment["AI_ASSISTANT_WORKER_METRICS_PORT"]
        lines = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("ai_assistant_engine_slots_in_use{"))

    def seconds_until_free(self) -> float:
        begun = time.monotonic()
        wait_until(lambda: self.slots_in_use() == 0, 30, "the slot is not free")
        return time.monotonic() - begun

    def conversation(self, user: str) -> list[dict[str, Any]]:
        """The messages of the user's newest conversation."""
        found = self.platform.client.get("/api/conversations", params={"user_id": user}).json()["conversations"]
        return self.messages(user, found[0]["id"])

    def messages(self, user: str, conversation_id: str) -> list[dict[str, Any]]:
        address = f"/api/conversations/{conversation_id}"
        found: list[dict[str, Any]] = self.platform.client.get(address, params={"user_id": user}).json()["messages"]
        return found

    def group(self, chat_id: int, *people: int, **options: Any) -> Group:
        return self.api.group(chat_id, [self.api.person(person) for person in people], **options)
