"""What the bot is told: polls, webhooks, and what people do."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramConflictError, TelegramNetworkError
from aiogram.types import Update
from aiohttp import web
from telegram import BotApi


def texts(updates: list[Update]) -> list[str | None]:
    return [update.message.text for update in updates if update.message is not None]


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def test_offsets_confirm(api: BotApi, bot: Bot) -> None:
    for text in ("one", "two", "three"):
        api.say(text)
    first = await bot.get_updates(limit=2)
    assert texts(first) == ["one", "two"]
    assert texts(await bot.get_updates()) == ["one", "two", "three"]
    assert texts(await bot.get_updates(offset=first[1].update_id)) == ["two", "three"]
    assert texts(await bot.get_updates(offset=-1)) == ["three"]
    assert texts(await bot.get_updates(offset=1)) == ["three"]
    assert await bot.get_updates(offset=first[1].update_id + 2) == []
    assert not api.updates.pending


async def test_long_poll(api: BotApi, bot: Bot) -> None:
    poll = asyncio.create_task(bot.get_updates(timeout=30))
    await until(lambda: api.updates.is_polled)
    api.say("Hi")
    assert texts(await poll) == ["Hi"]
    api.clock.speed = 100
    assert await bot.get_updates(offset=2, timeout=10) == []


async def test_second_poller(api: BotApi, bot: Bot) -> None:
    first = asyncio.create_task(bot.get_updates(timeout=30))
    await until(lambda: api.updates.is_polled)
    second = asyncio.create_task(bot.get_updates(timeout=30))
    with pytest.raises(TelegramConflictError, match="terminated by other getUpdates request; make sure that only one bot"):
        await first
    api.say("Hi")
    assert texts(await second) == ["Hi"]


async def test_allowed_updates(api: BotApi, bot: Bot) -> None:
    anna = api.person(7)
    await bot.get_updates(allowed_updates=["edited_message"])
    number = anna.says("Hello")
    anna.edits(number, "Hello!")
    (update,) = await bot.get_updates()
    assert update.edited_message is not None
    assert (update.edited_message.text, update.edited_message.message_id) == ("Hello!", number)
    assert api.updates.put("chat_member", {}) is None
    # nothing is asked for: the last list stays
    await bot.get_updates(offset=-1)
    anna.says("Again")
    assert len(await bot.get_updates()) == 1


async def test_repeated_update(api: BotApi, bot: Bot) -> None:
    api.say("Hi")
    (update,) = await bot.get_updates()
    api.updates.repeat(update.update_id)
    assert [again.update_id for again in await bot.get_updates(offset=update.update_id + 1)] == [update.update_id]
    assert await bot.get_updates(offset=update.update_id + 1) == []


async def test_outage(api: BotApi, bot: Bot) -> None:
    poll = asyncio.create_task(bot.get_updates(timeout=30))
    await until(lambda: api.updates.is_polled)
    api.say("Hi")
    await poll
    poll = asyncio.create_task(bot.get_updates(offset=2, timeout=30))
    await until(lambda: api.updates.is_polled)
    url = api.url
    await asyncio.to_thread(api.stop)
    with pytest.raises(TelegramNetworkError):
        await poll
    with pytest.raises(TelegramNetworkError, match="Cannot connect"):
        await bot.send_message(7, "Hi")
    api.say("Are you there?")
    await asyncio.to_thread(api.start)
    assert api.url == url
    await bot.send_message(7, "Yes")
    assert texts(await bot.get_updates(offset=2)) == ["Are you there?"]


class Receiver:
    """A bot's webhook which answers by script, then 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.got: list[tuple[int, str | None]] = []
        self.answer: dict[str, object] = {}
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(((await request.json())["update_id"], request.headers.get("X-Telegram-Bot-Api-Secret-Token")))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.json_response(self.answer, status=status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()


async def test_webhook(api: BotApi, bot: Bot, receiver: Receiver) -> None:
    api.webhook.first_pause = 0.01
    api.say("before")
    receiver.statuses = [500, 401]
    await bot.set_webhook(receiver.url, secret_token="se-cret_1", allowed_updates=["message"])
    api.say("after")
    await until(lambda: not api.updates.pending)
    # each update until it is taken, and none before its predecessor
    assert receiver.got == [(1, "se-cret_1")] * 3 + [(2, "se-cret_1")]
    assert api.webhook.deliveries == [(1, 500), (1, 401), (1, 200), (2, 200)]
    info = await bot.get_webhook_info()
    assert (info.url, info.pending_update_count, info.allowed_updates) == (receiver.url, 0, ["message"])
    assert info.last_error_message == "Wrong response from the webhook: 401"
    receiver.answer = {"method": "sendMessage", "chat_id": 7, "text": "in the answer"}
    api.say("more")
    await until(lambda: api.texts() == ["in the answer"])
    with pytest.raises(TelegramConflictError, match="can't use getUpdates method while webhook is active"):
        await bot.get_updates()
    await bot.delete_webhook()
    api.say("polled")
    assert texts(await bot.get_updates()) == ["polled"]
    assert (await bot.get_webhook_info()).url == ""


async def test_webhook_ends_a_poll_and_drops(api: BotApi, bot: Bot, receiver: Receiver) -> None:
    poll = asyncio.create_task(bot.get_updates(timeout=30))
    await until(lambda: api.updates.is_polled)
    await bot.set_webhook(receiver.url)
    with pytest.raises(TelegramConflictError, match="terminated by setWebhook request"):
        await poll
    await bot.delete_webhook()
    api.say("old")
    await bot.set_webhook(receiver.url, drop_pending_updates=True)
    api.say("new")
    await until(lambda: not api.updates.pending)
    assert receiver.got == [(2, None)]
    api.webhook.first_pause, receiver.statuses = 5, [500]
    api.say("stuck")
    await until(lambda: len(receiver.got) == 2)
    await bot.delete_webhook(drop_pending_updates=True)
    assert await bot.get_updates() == []


async def test_webhooks_that_are_refused(bot: Bot) -> None:
    for url, secret, expected in [
        ("http://example.org/hook", None, "An HTTPS URL must be provided"),
        ("https://example.org:8080/hook", None, "only on ports"),
        ("https://example.org/hook", "se cret", "unallowed characters"),
        ("https://example.org/hook", "s" * 257, "unallowed characters"),
    ]:
        with pytest.raises(TelegramBadRequest, match=expected):
            await bot.set_webhook(url, secret_token=secret)
