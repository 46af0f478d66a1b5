"""The Telegram bot as a real process beside a platform of real processes, at a Telegram of the tests."""

import time
from pathlib import Path
from typing import Any

from platform_processes import Platform, Process, free_port
from telegram import TOKEN, BotApi


def bot_process(platform: Platform, api_url: str, folder: Path, *, token: str = TOKEN, **more: str) -> Process:
    """A bot that is not started yet; `more` are variables of its environment."""
    port = free_port()
    environment = platform.environment(
        **{
            "AI_ASSISTANT_TELEGRAM_TOKEN": token,
            "AI_ASSISTANT_TELEGRAM_API_URL": api_url,
            "AI_ASSISTANT_TELEGRAM_HEALTH_PORT": str(port),
            "AI_ASSISTANT_GATEWAY_URL": platform.url,
            "AI_ASSISTANT_TELEGRAM_ACCESS": "open",
            "AI_ASSISTANT_TELEGRAM_MESSAGES_PER_MINUTE": "6000",
            "AI_ASSISTANT_TELEGRAM_MESSAGE_BURST": "1000",
            **more,
        }
    )
    return Process("bot", ["bot"], environment, folder / "bot.log", f"http://127.0.0.1:{port}/readyz")


def start_bot(platform: Platform, api: BotApi, folder: Path, *, wait: bool = True, **more: str) -> Process:
    """The platform stops it at the end of the test."""
    return platform.adopt(bot_process(platform, api.url, folder, **more)).start(wait=wait)


def deliveries(platform: Platform, **query: str) -> list[dict[str, Any]]:
    """All that the ledger holds, oldest first."""
    params = {"channel": "telegram", "limit": "100", **query}
    found: list[dict[str, Any]] = []
    while True:
        page = platform.client.get("/api/deliveries", params=params).json()
        found += page["deliveries"]
        if page["next"] is None:
            return found
        params["after"] = page["next"]


def wait_until(true: Any, seconds: float, what: Any = "") -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.05)
