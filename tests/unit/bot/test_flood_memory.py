"""Pauses of Telegram's that a killed bot has left behind."""

import asyncio
from typing import Any, cast

import pytest
from aiogram.exceptions import TelegramRetryAfter
from scripted_telegram import Answer, ScriptedSession, flood, scripted_bot
from simulated_time import simulated

from ai_assistant.bot.flood_memory import MOST_CHATS, FloodMemory
from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from ai_assistant.bot.pacing import Pacer, Urgency, urgency
from ai_assistant.errors import AssistantError


class Users:
    """The gateway's users: one of them."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] | None = None
        self.is_away = False
        self.writings = 0

    async def call(self, method: str, path: str, *, json: dict[str, Any] | None = None) -> dict[str, Any]:
        assert path == "/api/users/tg-bot:4242:held"
        await asyncio.sleep(0.01)
        if self.is_away:
            raise AssistantError("The gateway is away.")
        if method == "PATCH" and json is not None:
            self.writings += 1
            merged = (self.settings or {}) | json["settings"]
            self.settings = {key: value for key, value in merged.items() if value is not None}
        if self.settings is None:
            raise GatewayRefusalError("There is no such user.", "not_found")
        return {"settings": self.settings}


def bot_with_memory(users: Users, script: Any = lambda _: None) -> tuple[Any, FloodMemory, Pacer]:
    bot = scripted_bot(script)
    pacer = bot.session.middleware[0]
    assert isinstance(pacer, Pacer)
    loop = asyncio.get_running_loop()
    return bot, FloodMemory(pacer, cast(GatewayClient, users), 4242, clock=lambda: 1.8e9 + loop.time()), pacer


async def send(bot: Any, chat: int) -> None:
    with urgency(Urgency.FINAL):
        await bot.send_message(chat, "x")


def test_the_next_bot_obeys_the_pauses_of_the_last_one() -> None:
    async def main() -> None:
        users = Users()
        answers: list[Answer] = [flood(149)]
        bot, memory, _ = bot_with_memory(users, lambda _: answers.pop() if answers else None)
        await memory.restore()  # nothing is known of the bot yet
        memory.start()
        with pytest.raises(TelegramRetryAfter):
            await send(bot, 7)
        await asyncio.sleep(0.1)
        await memory.stop()  # killed

        bot, memory, pacer = bot_with_memory(users)
        await memory.restore()
        assert pacer.is_held(7)
        with pytest.raises(TelegramRetryAfter) as error:
            await send(bot, 7)
        assert 147 <= error.value.retry_after <= 150
        await send(bot, 8)
        await asyncio.sleep(150)
        await send(bot, 7)
        assert isinstance(bot.session, ScriptedSession)
        assert len(bot.session.times(7)) == 1

    simulated(main())


def test_many_pauses_are_few_writings_that_fit_into_settings() -> None:
    async def main() -> None:
        users = Users()
        bot, memory, pacer = bot_with_memory(users, lambda _: flood(300))
        for chat in range(-1_000_000_001_000, -1_000_000_000_000):
            pacer.hold(chat, 200 + chat % 100)
        memory.start()
        for chat in range(1, 5):
            with pytest.raises(TelegramRetryAfter):
                await send(bot, chat)
        await asyncio.sleep(5)
        await memory.stop()
        assert users.settings is not None
        assert set(map(str, range(1, 5))) <= set(users.settings["held"])  # the longest
        assert len(users.settings["held"]) == MOST_CHATS
        assert len(str(users.settings)) < 14_000
        assert users.writings <= 4

    simulated(main())


def test_a_gateway_that_is_away_stops_nobody() -> None:
    async def main() -> None:
        users = Users()
        users.is_away = True
        bot, memory, _ = bot_with_memory(users, lambda method: flood(60) if method.chat_id in (7, 8) else None)
        await memory.restore()
        memory.start()
        with pytest.raises(TelegramRetryAfter):
            await send(bot, 7)
        await asyncio.sleep(1)
        users.is_away = False
        with pytest.raises(TelegramRetryAfter):
            await send(bot, 8)
        await asyncio.sleep(1)
        await memory.stop()
        assert users.settings is not None
        assert set(users.settings["held"]) == {"7", "8"}

    simulated(main())


def test_a_pause_that_is_over_is_not_kept() -> None:
    """Neither by the bot that was told of it, nor by the next one."""

    async def main(*, is_killed: bool) -> None:
        users = Users()
        bot, memory, _ = bot_with_memory(users, lambda _: flood(8))
        memory.start()
        with pytest.raises(TelegramRetryAfter):
            await send(bot, 4242424242)
        await asyncio.sleep(1)
        assert "4242424242" in str(users.settings)
        if is_killed:
            await memory.stop()
            _, memory, _ = bot_with_memory(users)
            await memory.restore()
            memory.start()
        await asyncio.sleep(20)
        assert users.settings == {}
        writings = users.writings
        await asyncio.sleep(60)
        assert users.writings == writings
        await memory.stop()

    simulated(main(is_killed=False))
    simulated(main(is_killed=True))


def test_a_gateway_that_is_away_holds_the_start_up_for_a_moment_only() -> None:
    async def main() -> None:
        users = Users()

        async def never(*_: Any, **__: Any) -> None:
            await asyncio.sleep(15)

        users.call = never  # type: ignore[method-assign, assignment]
        _, memory, _ = bot_with_memory(users)
        begun = asyncio.get_running_loop().time()
        await memory.restore()
        assert asyncio.get_running_loop().time() - begun < 5

    simulated(main())
