"""A private chat in Telegram, from the update to the answer, with the real gateway, worker and model."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from platform_processes import Platform, Process
from servers import psql
from telegram import TOKEN, BotApi, faults, started_bot_api


@pytest.fixture(autouse=True)
def short_and_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are the same each time, and soon over."""
    monkeypatch.setenv("AI_ASSISTANT_TEMPERATURE", "0")
    monkeypatch.setenv("AI_ASSISTANT_MAX_TOKENS", "40")


def start_bot(platform: Platform, api: BotApi, folder: Path, token: str = TOKEN) -> Process:
    environment = platform.environment(
        AI_ASSISTANT_TELEGRAM_TOKEN=token,
        AI_ASSISTANT_TELEGRAM_API_URL=api.url,
        AI_ASSISTANT_GATEWAY_URL=platform.url,
        AI_ASSISTANT_TELEGRAM_ACCESS="open",
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
            api.wait_for(3)  # /new withdraws what is not answered yet
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


def deliveries(platform: Platform) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = platform.client.get("/api/deliveries", params={"channel": "telegram"}).json()["deliveries"]
    return found


def wait_for_states(platform: Platform, *states: str) -> list[dict[str, Any]]:
    """The deliveries, once they are in these states."""
    deadline = time.monotonic() + 60
    while True:
        found = deliveries(platform)
        if [item["state"] for item in found] == [*states]:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_answers_survive_a_killed_bot(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    with started_bot_api() as api:
        bot = start_bot(platform, api, tmp_path)
        try:
            api.say("What is the capital of France?")
            wait_for_states(platform, "waiting")
            bot.kill()
            platform.worker()
            wait_for_states(platform, "pending")
            # nobody has taken it for the bot that was killed while it waited for an answer
            assert deliveries(platform)[0]["attempt"] == 0
            bot.start(wait=False)
            assert "Paris" in api.wait_for(1)[0]
            wait_for_states(platform, "delivered")

            # killed while Telegram has the message and the bot does not know
            api.faults.next(faults.no_answer(), "sendMessage")
            api.say("And of Italy?")
            first = api.wait_for(2)[1]
            bot.kill()
            psql(platform.database_url, "UPDATE deliveries SET lease_until = now()")
            bot.start(wait=False)
            assert api.wait_for(3)[2] == f"(You may have got this already.)\n\n{first}"
            wait_for_states(platform, "delivered", "delivered")
            time.sleep(0.5)
            assert len(api.texts()) == 3
        finally:
            bot.stop()
    assert len(platform.client.get("/api/conversations", params={"user_id": "tg:7"}).json()["conversations"]) == 1


def test_what_telegram_refuses(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    platform.worker()
    with started_bot_api() as api:
        bot = start_bot(platform, api, tmp_path)
        try:
            api.flood_next(2)
            api.say("Hello!", user=7)
            api.wait_for(1)
            refused, taken = api.record.of("sendMessage")
            assert refused.code == 429
            assert taken.at - refused.at >= 2
            assert not api.flood.violations
            wait_for_states(platform, "delivered")

            # blocked while the answer is on its way
            blocked = faults.refusal(403, "Forbidden: bot was blocked by the user")
            api.faults.next(blocked, "sendMessage")
            api.say("Hello again!", user=7)
            last = wait_for_states(platform, "delivered", "dead")[1]
            assert "blocked by the user" in last["last_error"]
            api.say("I am back!", user=7)
            api.wait_for(2)
            wait_for_states(platform, "delivered", "dead", "delivered")

            api.faults.next(faults.server_error(502), "sendMessage")
            api.say("Still there?", user=7)
            # whoever answered that need not know whether Telegram has it
            assert api.wait_for(3)[2].startswith("(You may have got this already.)")
        finally:
            assert bot.stop() == 0


def test_stop_after_a_restart(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    with started_bot_api() as api:
        bot = start_bot(platform, api, tmp_path)
        try:
            api.say("Tell me a long story.")
            api.say("And another one.")
            wait_for_states(platform, "waiting", "waiting")
            bot.kill()
            bot.start(wait=False)
            api.say("/stop")
            assert api.wait_for(1) == ["Stopped."]
            wait_for_states(platform, "skipped", "skipped")
        finally:
            bot.stop()


def test_wrong_token(platform: Platform, tmp_path: Path) -> None:
    with started_bot_api() as api:
        environment = platform.environment(AI_ASSISTANT_TELEGRAM_TOKEN="1:wrong", AI_ASSISTANT_TELEGRAM_API_URL=api.url)
        command = [sys.executable, "-m", "ai_assistant", "bot"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert result.stderr.strip() == "error: Telegram refuses AI_ASSISTANT_TELEGRAM_TOKEN; get a new one from @BotFather."
