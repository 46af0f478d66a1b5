"""How updates come to the bot and how it comes and goes: outages, a second poller, a webhook, real processes throughout."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from platform_processes import Platform, Process, free_port
from telegram import TOKEN, BotApi, started_bot_api

SECRET = "a-secret-of-the-tests"


def bot_process(platform: Platform, api: BotApi, log: Path, **more: str) -> Process:
    environment = platform.environment(
        AI_ASSISTANT_TELEGRAM_TOKEN=TOKEN,
        AI_ASSISTANT_GATEWAY_URL=platform.url,
        AI_ASSISTANT_TELEGRAM_ACCESS="open",
        **{"AI_ASSISTANT_TELEGRAM_API_URL": api.url, **more},
    )
    return Process("bot", ["bot"], environment, log, "").start(wait=False)


def wait(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def waiting(platform: Platform) -> list[int]:
    """Chats of the questions that the gateway has accepted."""
    query = {"channel": "telegram", "state": "waiting"}
    found = platform.client.get("/api/deliveries", params=query).json()["deliveries"]
    return [item["target"]["chat_id"] for item in found]


def test_no_network_is_waited_for(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    with started_bot_api() as api:
        url = api.url
        api.stop()
        log = tmp_path / "bot.log"
        bot = bot_process(platform, api, log, AI_ASSISTANT_TELEGRAM_API_URL=url)
        wait(lambda: "Telegram cannot be reached" in log.read_text())
        # whoever gives up need not wait for the network
        began = time.monotonic()
        assert bot.stop(10) == 0
        assert time.monotonic() - began < 8
        bot.start(wait=False)
        wait(lambda: log.read_text().count("Telegram cannot be reached") == 2)
        api.start()
        try:
            api.say("Hello!")
            wait(lambda: waiting(platform) == [7])
            assert "Telegram answers again" in log.read_text()
            assert bot.is_running
            assert TOKEN not in log.read_text()
        finally:
            assert bot.stop() == 0


def test_a_gateway_that_is_away_at_start(platform: Platform, tmp_path: Path) -> None:
    with started_bot_api() as api:
        log = tmp_path / "bot.log"
        bot = bot_process(platform, api, log)
        try:
            api.say("Hello!", language="en")
            # one honest sentence, and the message is not lost
            api.wait_for(1)
            assert "does not answer" in log.read_text()
            platform.gateway()
            wait(lambda: waiting(platform) == [7])
            wait(lambda: not api.updates.pending)
            assert len(api.texts()) == 1
        finally:
            assert bot.stop() == 0


def test_a_second_poller_waits_and_takes_over(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    with started_bot_api() as api:
        logs = [tmp_path / "one.log", tmp_path / "two.log"]
        one, _ = bots = [bot_process(platform, api, log) for log in logs]
        try:
            wait(lambda: any("Another process polls with this token" in log.read_text() for log in logs))
            before = len(api.record.of("getUpdates"))
            time.sleep(4)
            # no storm: both come back after 5 s and more
            assert len(api.record.of("getUpdates")) - before <= 3
            assert one.stop() == 0
            api.say("Hello!")
            wait(lambda: waiting(platform) == [7])
            wait(lambda: not api.updates.pending)
        finally:
            for bot in bots:
                if bot.is_running:
                    bot.stop()


def test_what_was_handled_is_confirmed_at_the_end(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    with started_bot_api() as api:
        bot = bot_process(platform, api, tmp_path / "bot.log")
        try:
            wait(lambda: api.updates.is_polled)
            api.say("Hello!")
            wait(lambda: waiting(platform) == [7])
            assert bot.stop() == 0
            assert not api.updates.pending
        finally:
            if bot.is_running:
                bot.stop()


def test_webhook(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    port, health = free_port(), free_port()
    with started_bot_api() as api:
        log = tmp_path / "bot.log"
        bot = bot_process(
            platform,
            api,
            log,
            AI_ASSISTANT_TELEGRAM_WEBHOOK_URL=f"http://127.0.0.1:{port}/telegram",
            AI_ASSISTANT_TELEGRAM_WEBHOOK_SECRET=SECRET,
            AI_ASSISTANT_TELEGRAM_WEBHOOK_PORT=str(port),
            AI_ASSISTANT_TELEGRAM_HEALTH_PORT=str(health),
        )
        try:
            api.say("Hello!")
            wait(lambda: waiting(platform) == [7])
            api.say("Hello!", user=8)
            wait(lambda: sorted(waiting(platform)) == [7, 8])
            wait(lambda: not api.updates.pending)
            # a repetition is the same question
            number = api.webhook.deliveries[-1][0]
            api.updates.repeat(number)
            wait(lambda: api.webhook.deliveries.count((number, 200)) == 2)
            assert sorted(waiting(platform)) == [7, 8]
            stranger = httpx.post(f"http://127.0.0.1:{port}/telegram", json=api.updates.log[number])
            assert stranger.status_code == 403
            assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
            metrics = httpx.get(f"http://127.0.0.1:{health}/metrics").text
            assert 'ai_assistant_telegram_updates_total{type="message"} 3.0' in metrics
            assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 404
            assert SECRET not in log.read_text()
        finally:
            assert bot.stop() == 0
        # whoever polls afterwards removes it, and loses nothing
        api.say("Still there?", user=9)
        bot = bot_process(platform, api, log)
        try:
            wait(lambda: sorted(waiting(platform)) == [7, 8, 9])
            assert "The webhook from earlier" in log.read_text()
        finally:
            assert bot.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_end_it(platform: Platform, tmp_path: Path, number: int) -> None:
    platform.gateway()
    with started_bot_api() as api:
        bot = bot_process(platform, api, tmp_path / "bot.log")
        wait(lambda: api.updates.is_polled)
        os.kill(bot.pid, number)
        wait(lambda: not bot.is_running, 15)
        assert bot.stop() == 0


def test_a_wrong_gateway_key_ends_the_bot(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_ASSISTANT_SERVICE_KEYS", "bot:the-right-one")
    platform.gateway()
    with started_bot_api() as api:
        log = tmp_path / "bot.log"
        bot = bot_process(platform, api, log, AI_ASSISTANT_GATEWAY_KEY="a-wrong-one")
        wait(lambda: not bot.is_running)
        assert bot.stop() == 1
    assert "error: The gateway refuses AI_ASSISTANT_GATEWAY_KEY" in log.read_text()
    assert "a-wrong-one" not in log.read_text()
