"""Which updates are handled, in which order, and when Telegram may forget them."""

import asyncio
import logging
from collections import defaultdict

import pytest
from aiogram import Router
from aiogram.types import CallbackQuery, Message, MessageGenerationStopped, Update

from ai_assistant.bot import polling as polling_module
from ai_assistant.bot import trouble as trouble_module
from ai_assistant.bot.texts import say
from ai_assistant.errors import ConfigurationError
from unit.bot.polled_telegram import Polled, message, until


class Handlers:
    """Remember what came; a chat in `gates` is held up until its gate opens."""

    def __init__(self) -> None:
        self.router = Router()
        self.router.message.register(self.handle)
        self.began: list[int] = []
        self.ended: list[int] = []
        self.texts: list[str] = []
        self.gates: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.held: set[int] = set()
        self.bad: set[int] = set()

    async def handle(self, message: Message, event_update: Update) -> None:
        self.began.append(event_update.update_id)
        if message.chat.id in self.held:
            await self.gates[message.chat.id].wait()
        if event_update.update_id in self.bad:
            raise RuntimeError("a bug")
        self.texts.append(message.text or "")
        self.ended.append(event_update.update_id)


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling_module, "LOOK_AGAIN_SECONDS", 0.01)


async def test_a_slow_chat_holds_up_the_offset_and_nobody_else(handlers: Handlers) -> None:
    bot = Polled(handlers.router)
    handlers.held.add(1)
    async with bot.running():
        bot.telegram.bring(message(10, chat=2), message(11, chat=1), message(12, chat=1), message(13, chat=2))
        await until(lambda: handlers.ended == [10, 13])
        # what comes later in another chat is not kept waiting either
        bot.telegram.bring(message(14, chat=3))
        await until(lambda: 14 in handlers.ended)
        await until(lambda: bot.left() == [11, 12, 13, 14])
        assert handlers.began.count(11) == 1
        assert 12 not in handlers.began
        handlers.gates[1].set()
        await until(lambda: bot.left() == [])
    assert handlers.ended == [10, 13, 14, 11, 12]
    assert bot.telegram.polls[-1]["offset"] == 15
    assert bot.metrics.updates.labels("message")._value.get() == 5


async def test_a_supergroup_waits_for_what_the_group_has(handlers: Handlers) -> None:
    bot = Polled(handlers.router)
    handlers.held.add(-5)
    upgrade = message(11, chat=-5, kind="group")
    upgrade["message"] = {key: value for key, value in upgrade["message"].items() if key != "text"} | {
        "migrate_to_chat_id": -1005
    }
    async with bot.running():
        bot.telegram.bring(
            message(10, chat=-5, kind="group"), upgrade, message(12, chat=-1005, kind="supergroup"), message(13, chat=3)
        )
        await until(lambda: handlers.ended == [13])
        assert handlers.began == [10, 13]
        handlers.gates[-5].set()
        await until(lambda: handlers.ended == [13, 10, 11, 12])
        bot.telegram.bring(message(14, chat=-1005, kind="supergroup"))
        await until(lambda: handlers.ended == [13, 10, 11, 12, 14])


async def test_nothing_is_confirmed_before_it_is_handled(handlers: Handlers) -> None:
    bot = Polled(handlers.router)
    handlers.held.add(7)
    async with bot.running():
        bot.telegram.bring(message(10), message(11))
        await until(lambda: handlers.began == [10])
        count = len(bot.telegram.polls)
        await until(lambda: len(bot.telegram.polls) > count + 2)
    assert bot.left() == [10, 11]
    assert all(poll.get("offset", 10) == 10 for poll in bot.telegram.polls)


async def test_what_was_handled_is_confirmed_when_the_bot_stops(handlers: Handlers) -> None:
    bot = Polled(handlers.router)
    handlers.held.update((1, 2))
    async with bot.running() as task:
        bot.telegram.bring(message(10, chat=1), message(11, chat=2))
        await until(lambda: len(handlers.began) == 2)
        task.cancel()
        asyncio.get_running_loop().call_later(0.02, handlers.gates[1].set)
        await bot.polling.drain(0.2)
    assert bot.left() == [11]
    assert bot.telegram.polls[-1]["limit"] == 1
    assert handlers.ended == [10]


async def test_a_handler_that_fails_blocks_nobody(handlers: Handlers, caplog: pytest.LogCaptureFixture) -> None:
    bot = Polled(handlers.router)
    handlers.bad.update((10, 12))
    async with bot.running():
        bot.telegram.bring(message(10, text="a secret"), message(11), message(12, chat=-5, kind="group"))
        await until(lambda: not bot.left())
    assert handlers.ended == [11]
    # in a group nobody is told who has not spoken to the bot
    assert bot.telegram.texts() == [say("mishap", "ru")]
    assert "Update 10 (message) failed and is given up" in caplog.text
    assert "a secret" not in caplog.text


async def test_an_update_that_is_not_understood_blocks_nobody(handlers: Handlers, caplog: pytest.LogCaptureFixture) -> None:
    bot = Polled(handlers.router)
    broken = {"update_id": 10, "message": {"message_id": "x", "text": "a secret"}}
    async with bot.running():
        bot.telegram.bring(broken, message(11), {"update_id": 12, "of_the_future": {}})
        await until(lambda: not bot.left())
    assert handlers.ended == [11]
    assert "Update 10 is not understood and given up (message.message_id" in caplog.text
    assert "a secret" not in caplog.text


async def test_pieces_of_a_long_message_are_one(handlers: Handlers) -> None:
    bot = Polled(handlers.router)
    async with bot.running():
        bot.telegram.bring(message(10, text="a" * 4096))
        await asyncio.sleep(0.05)
        assert handlers.began == []
        bot.telegram.bring(message(11, text="b" * 4096), message(12, text="c"))
        await until(lambda: not bot.left())
    assert handlers.texts == ["a" * 4096 + "b" * 4096 + "c"]
    assert handlers.began == [10]


async def test_kinds_that_handlers_want_are_asked_for(handlers: Handlers) -> None:
    @handlers.router.callback_query()
    async def press(_: CallbackQuery) -> None: ...

    @handlers.router.stopped_message_generation()
    async def stop(_: MessageGenerationStopped) -> None: ...

    bot = Polled(handlers.router)
    async with bot.running():
        await until(lambda: bot.telegram.polls)
    assert set(bot.telegram.polls[0]["allowed_updates"]) == {"message", "callback_query", "stopped_message_generation"}


async def test_a_webhook_from_earlier_is_removed_without_its_updates(
    handlers: Handlers, caplog: pytest.LogCaptureFixture
) -> None:
    bot = Polled(handlers.router)
    bot.telegram.webhook = "https://old.example.org/hook"
    async with bot.running():
        bot.telegram.bring(message(10))
        await until(lambda: handlers.ended == [10])
    assert ("deleteWebhook", {"drop_pending_updates": False}) in bot.telegram.sent
    assert "The webhook from earlier (https://old.example.org/hook) is removed" in caplog.text


async def test_another_poller_is_waited_for(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trouble_module, "FIRST_CONFLICT_PAUSE", 0.01)
    bot = Polled(handlers.router)
    bot.telegram.faults = [(409, "Conflict: terminated by other getUpdates request; make sure that only one runs")] * 3
    with caplog.at_level(logging.INFO):
        async with bot.running():
            bot.telegram.bring(message(10))
            await until(lambda: handlers.ended == [10])
    assert caplog.text.count("Another process polls with this token") == 1
    assert "Telegram answers again" in caplog.text


async def test_a_refused_token_ends_the_bot(handlers: Handlers) -> None:
    bot = Polled(handlers.router)
    bot.telegram.faults = [(401, "Unauthorized")]
    async with bot.running() as task:
        with pytest.raises(ConfigurationError, match="get a new one from @BotFather"):
            await asyncio.wait_for(task, 5)
