"""Who is let in, with a real bot and gateway; and a proxy that is not there."""

import json
import re
import time
from pathlib import Path

from platform_processes import Platform, free_port
from servers import psql
from telegram import BotApi, started_bot_api

from telegram_bot import start_bot, wait_until


def lines(log: Path) -> list[str]:
    """What the bot has logged: messages only."""
    found = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [str(line.get("message") or line.get("event")) for line in found]


def last(api: BotApi, person: int, count: int) -> str:
    return api.wait_for(count, 20, chat_id=person)[-1]


def waiting(platform: Platform) -> list[int]:
    found = platform.client.get("/api/deliveries", params={"channel": "telegram", "state": "waiting"}).json()["deliveries"]
    return [item["target"]["chat_id"] for item in found]


def test_pairing(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    with started_bot_api() as api:
        bot = start_bot(platform, api, tmp_path, AI_ASSISTANT_TELEGRAM_ACCESS="pairing")
        wait_until(lambda: "and it is yours" in bot.log.read_text(), 20, "no code in the log")
        code = re.findall(r"start=([A-Z0-9]+)", bot.log.read_text())[0]
        api.say("Hello!", user=51)
        assert "Nobody has set me up yet" in last(api, 51, 1)
        api.say(f"/start {code}", user=50)
        assert "I am yours now" in last(api, 50, 1)
        # the code is good once
        api.say(f"/start {code}", user=51)
        assert "wrong or too old" in last(api, 51, 2)
        api.say("Hello!", user=52, language="ru")
        stranger = last(api, 52, 1)
        assert "Сообщите владельцу бота ваш код" in stranger
        assert psql(platform.database_url, "SELECT count(*) FROM users WHERE external_id ~ '^tg:5[12]'") == "0"
        api.say(f"/allow {re.findall('/allow ([A-Z0-9]+)', stranger)[0]}", user=50)
        assert "Let in" in last(api, 50, 2)
        # who is let in survives a killed bot
        bot.kill()
        bot.start(wait=False)
        api.say("Hello!", user=52)
        wait_until(lambda: waiting(platform) == [52], 20, "the person is not let in")
        api.say("/deny 52", user=50)
        assert "Kept out" in last(api, 50, 3)
        wait_until(lambda: waiting(platform) == [], 10, "what was being written goes on")
        before = len(api.texts(52))
        api.say("Hello!", user=52)
        wait_until(lambda: len(api.texts(52)) > before, 10)
        assert "Мне нельзя с вами разговаривать" in api.texts(52)[-1]
        assert waiting(platform) == []
        assert bot.stop() == 0
        text = bot.log.read_text()
        assert "Hello!" not in text


def test_allow_list(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    with started_bot_api() as api:
        bot = start_bot(platform, api, tmp_path, AI_ASSISTANT_TELEGRAM_ACCESS="allowlist", AI_ASSISTANT_TELEGRAM_ALLOWED="61,-62")
        api.say("Hello!", user=60)
        assert last(api, 60, 1).endswith(": 60")
        api.say("Hello!", user=61)
        wait_until(lambda: waiting(platform) == [61], 20)
        group, other = api.group(-62, [api.person(60)]), api.group(-63, [api.person(60)])
        api.person(60).mentions_bot("Hello!", group)
        wait_until(lambda: waiting(platform) == [61, -62], 20)
        api.person(60).mentions_bot("Hello!", other)
        assert "I have not been let into this group" in api.wait_for(1, 20, chat_id=-63)[0]
        assert bot.stop() == 0


def test_the_throttle_speaks_once(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    with started_bot_api() as api:
        limits = {"AI_ASSISTANT_TELEGRAM_MESSAGES_PER_MINUTE": "6", "AI_ASSISTANT_TELEGRAM_MESSAGE_BURST": "3"}
        bot = start_bot(platform, api, tmp_path, **limits)
        for number in range(8):
            api.say(f"Question {number}", user=64)
        api.wait_for(1, 20, chat_id=64)
        wait_until(lambda: not api.updates.pending, 20)
        assert waiting(platform) == [64] * 3
        (text,) = api.texts(64)
        assert "too fast" in text
        assert bot.stop() == 0


def test_a_proxy_that_is_not_there(platform: Platform, tmp_path: Path) -> None:
    platform.gateway()
    with started_bot_api() as api:
        proxy = f"socks5://user:very-secret@127.0.0.1:{free_port()}"
        bot = start_bot(platform, api, tmp_path, wait=False, AI_ASSISTANT_TELEGRAM_PROXY=proxy)
        wait_until(lambda: "see AI_ASSISTANT_TELEGRAM_PROXY" in bot.log.read_text(), 20, "nothing is said of the proxy")
        time.sleep(4)
        warnings = [line for line in lines(bot.log) if "Telegram cannot be reached" in line]
        assert len(warnings) == 1, "the same sentence again and again"
        assert "very-secret" not in bot.log.read_text()
        assert bot.is_running
        assert bot.stop(10) == 0
        assert api.record.calls == []
