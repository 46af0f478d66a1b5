"""Thousands of deliveries in simulated hours, with a Telegram and a gateway that fail at random and a bot that is killed."""

import asyncio
import random
from collections import defaultdict
from typing import Any, cast

import pytest
from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramNetworkError
from aiogram.methods import SendMessage, TelegramMethod
from aiohttp import ClientConnectorError
from ledger_double import LedgerDouble
from scripted_telegram import Answer, ScriptedSession, flood, refusal
from simulated_time import simulated

from ai_assistant.bot.deliverer import Deliverer
from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.pacing import Pacer, PreviewSkipped, Urgency, urgency
from ai_assistant.bot.texts import say

MARK = say("resent", "en")
FLOOD_SECONDS = (1, 3, 20, 150)


class UnreliableTelegram:
    """10 % floods, 5 % server errors and 3 % network errors, half of the errors after the message has arrived."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.arrived: dict[int, list[str]] = defaultdict(list)
        """Texts by chat."""
        self.windows: dict[int, float] = {}
        self.violations: list[str] = []

    def __call__(self, method: TelegramMethod[Any]) -> Answer:
        now = asyncio.get_running_loop().time()
        chat: int = method.chat_id  # type: ignore[attr-defined]
        if now < self.windows.get(chat, 0):
            self.violations.append(f"{method.__api_method__} to {chat} at {now}, held until {self.windows[chat]}")
        number = self.chance.random()
        if number < 0.10:
            seconds = self.chance.choice(FLOOD_SECONDS)
            self.windows[chat] = now + seconds
            return flood(seconds)
        if number < 0.18 and self.chance.random() < 0.5:
            return self._error(method, number, is_early=True)
        if isinstance(method, SendMessage):
            self.arrived[chat].append(method.text)
        return self._error(method, number, is_early=False) if number < 0.18 else None

    def _error(self, method: TelegramMethod[Any], number: float, *, is_early: bool) -> Answer:
        if number < 0.15:
            return refusal(502, "Bad Gateway")
        error = TelegramNetworkError(method, "HTTP error")
        never = ClientConnectorError(None, OSError("refused"))  # type: ignore[arg-type]
        error.__cause__ = never if is_early else TimeoutError()
        return error


async def previews(bot: Bot, chats: range, chance: random.Random) -> None:
    """What live answers do meanwhile."""
    while True:
        try:
            with urgency(Urgency.PREVIEW):
                await bot.send_message_draft(chance.choice(chats), 1, text="…")
        except (PreviewSkipped, AiogramError):
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)


async def kill(*tasks: asyncio.Task[Any]) -> None:
    """As SIGKILL: nothing is told to anybody. (A task that is cancelled may do some work; the gateway does not hear of it.)"""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_and_what_comes_twice_is_marked(seed: int) -> None:
    async def main() -> None:
        chance = random.Random(seed)
        telegram = UnreliableTelegram(chance)
        chats, rounds = range(1, 101), 10
        is_killed, is_away = [False], [False]

        def trouble(_: str) -> str | None:
            if is_killed[0] or is_away[0]:
                return "before"
            return chance.choice(("before", "after")) if chance.random() < 0.02 else None

        ledger = LedgerDouble(trouble)
        expected: dict[int, list[str]] = defaultdict(list)
        for number in range(rounds):
            for chat in chats:
                text = f"Answer {number} for {chat}."
                plan = [{"kind": "text", "text": f"{text} Part {part}.", "entities": []} for part in range(1 + number % 2)]
                expected[chat] += [part["text"] for part in plan]
                ledger.owe(chat, plan=plan, parts_total=len(plan))

        restarts = 0
        held: dict[int, float] = {}
        while not ledger.is_settled():
            restarts += 1
            assert asyncio.get_running_loop().time() < 4 * 3600, "it takes for ever"
            session = ScriptedSession(telegram, 0.08)
            pacer = Pacer()
            session.middleware(pacer)
            now = asyncio.get_running_loop().time()
            for chat, until in held.items():  # so that what the dead bot knew is not what is tested here
                if until > now:
                    pacer.hold(chat, until - now)
            bot = Bot("4242:test-token", session=session)
            deliverer = Deliverer(bot, cast(GatewayClient, ledger))
            deliverer.start()
            previewing = asyncio.create_task(previews(bot, chats, chance))
            for _ in range(chance.randint(5, 40)):
                is_away[0] = chance.random() < 0.05
                await asyncio.sleep(1)
                if ledger.is_settled():
                    break
            is_away[0] = False
            is_killed[0] = restarts < 20 and not ledger.is_settled()
            await kill(previewing)
            await deliverer.stop(0 if is_killed[0] else 3)
            is_killed[0] = False
            held = dict(telegram.windows)

        assert restarts >= 20
        assert telegram.violations == []
        assert {entry.state for entry in ledger.entries.values()} == {"delivered"}
        duplicates = 0
        for chat, texts in telegram.arrived.items():
            once = [text for text in texts if not text.startswith(MARK)]
            bare = [text.removeprefix(MARK) for text in texts]
            assert list(dict.fromkeys(bare)) == expected[chat]  # all of it, in order
            assert len(once) == len(set(once)), "a duplicate that is not marked"
            duplicates += len(bare) - len(set(bare))
        assert duplicates > 0  # or nothing was tested

    simulated(main())
