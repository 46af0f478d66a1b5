"""A private chat in Telegram, from the update to the answer, with the real gateway, worker and model."""

import subprocess
import sys
from pathlib import Path

from bot_api import TOKEN, BotApi, started_bot_api
from platform_processes import Platform, Process


def start_bot(platform: Platform, api: BotApi, folder: Path, token: str = TOKEN) -> Process:
    environment = platform.environment(
        AI_ASSISTANT_TELEGRAM_TOKEN=token, AI_ASSISTANT_TELEGRAM_API_URL=api.url, AI_ASSISTANT_GATEWAY_URL=platform.url
    )
    return Process("bot", ["bot"], environment, folder / "bot.log", "").start(wait=False)


def test_private_chat(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    platform.worker()
    with started_bot_api() as api:
        bot = start_bot(platform, api, tmp_path)
        try:
            api.say("/start")
            api.wait_for(1)
            api.say("What is the capital of France?")
            assert "Paris" in api.wait_for(2)[1]
            # a restart forgets neither the conversation nor which updates were handed over
            assert bot.stop() == 0
            bot.start(wait=False)
            api.say("Привет!", user=8, language="ru")
            api.say("/new", user=8, language="ru")
            texts = api.wait_for(4)
            assert "Новая беседа. О чём поговорим?" in texts
            api.say("And of Italy?")
            api.wait_for(5)
        finally:
            bot.stop()
    conversations = platform.client.get("/api/conversations", params={"user_id": "tg:7"}).json()["conversations"]
    assert len(conversations) == 1
    messages = platform.client.get(f"/api/conversations/{conversations[0]['id']}", params={"user_id": "tg:7"}).json()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2


def test_wrong_token(platform: Platform, tmp_path: Path) -> None:
    with started_bot_api() as api:
        environment = platform.environment(AI_ASSISTANT_TELEGRAM_TOKEN="1:wrong", AI_ASSISTANT_TELEGRAM_API_URL=api.url)
        command = [sys.executable, "-m", "ai_assistant", "bot"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert result.stderr.strip() == "error: Telegram refuses AI_ASSISTANT_TELEGRAM_TOKEN; get a new one from @BotFather."
