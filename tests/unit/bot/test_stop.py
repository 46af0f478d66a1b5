"""Stopping answers: updates of a strict Telegram through the dispatcher."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from aiogram import BaseMiddleware, Bot, Dispatcher
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.types import TelegramObject, Update
from telegram import TOKEN, BotApi, Group, faults, started_bot_api

from ai_assistant.bot import stop
from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.live import Live
from ai_assistant.bot.pacing import Pacer
from ai_assistant.bot.profiles import Profile
from ai_assistant.bot.texts import say
from live_gateway import LiveGateway, LiveTask


class KnownPeople(BaseMiddleware):
    """Profiles, as far as handlers of this area need them."""

    async def __call__(
        self, handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]], event: TelegramObject, data: dict[str, Any]
    ) -> Any:
        user = data.get("event_from_user")
        if user is not None:
            data["profile"] = Profile(f"tg:{user.id}", f"tg:{user.id}", user.language_code or "en")
        return await handler(event, data)


class Desk:
    """A bot that knows nothing but stopping."""

    def __init__(self, api: BotApi) -> None:
        self.api = api
        self.gateway = LiveGateway()
        session = AiohttpSession(api=TelegramAPIServer.from_base(api.url))
        pacer = Pacer()
        session.middleware(pacer)
        self.bot = Bot(TOKEN, session=session)
        self.live = Live(self.bot, cast(GatewayClient, self.gateway), pacer)
        self.dispatcher = Dispatcher(gateway=self.gateway, live=self.live)
        self.dispatcher.update.outer_middleware(KnownPeople())
        self.dispatcher.sub_routers.append(stop.router)  # not included: a router can be that only once in a process
        self.offset = 0

    async def handle(self) -> None:
        """All updates that wait."""
        kinds = self.dispatcher.resolve_used_update_types()
        for update in await self.bot.get_updates(offset=self.offset, timeout=0, allowed_updates=kinds):
            self.offset = update.update_id + 1
            await self.dispatcher.feed_update(self.bot, Update.model_validate(update.model_dump(), context={"bot": self.bot}))

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.01)

    def follow(self, chat_id: int = 7, **options: Any) -> LiveTask:
        task = self.gateway.task(chat_id, **options)
        self.live.follow(task.id, task.target)
        return task

    def toasts(self) -> list[Any]:
        return [query.answer for query in self.api.callbacks.values()]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    with started_bot_api() as api:
        desk = Desk(api)
        await desk.bot.get_updates(timeout=0)
        yield desk
        await desk.live.stop()
        # aiogram's own close waits for connections with TLS, of which there are none
        await (await cast(AiohttpSession, desk.bot.session).create_session()).close()


def some_group(desk: Desk) -> Group:
    people = [desk.api.person(number, name=f"P{number}") for number in (1, 2, 3)]
    return desk.api.group(-100, people)


async def test_the_native_button_stops_its_answer_and_its_drafts(desk: Desk) -> None:
    anna = desk.api.person(7)
    anna.says("/start")
    other, task = desk.gateway.task(7, thread_id=4), desk.follow()
    desk.gateway.write(task, "Once upon a time")
    await desk.until(lambda: (frame := desk.api.draft()) and frame.text)
    anna.stops()
    await desk.handle()
    assert desk.gateway.cancelled == [task.id]
    assert not other.is_final
    frames = len(desk.api.drafts.frames)
    desk.gateway.write(task, " there was")
    await asyncio.sleep(0.4)
    assert len(desk.api.drafts.frames) == frames


async def test_the_stop_command_takes_the_last_first_and_only_this_topic(desk: Desk) -> None:
    desk.api.person(7)
    topic = desk.api.person(7).topic()
    tasks = [desk.gateway.task(7) for _ in range(5)]
    elsewhere, other = desk.gateway.task(7, thread_id=topic), desk.gateway.task(8)
    desk.api.say("/stop", language="ru")
    await desk.handle()
    assert desk.gateway.cancelled == [task.id for task in reversed(tasks)]
    assert not elsewhere.is_final
    assert not other.is_final
    assert desk.api.texts() == [say("stopped", "ru")]
    desk.api.say("/stop")
    desk.api.say("/stop", thread_id=topic)
    await desk.handle()
    assert desk.gateway.cancelled[-1] == elsewhere.id
    assert desk.api.texts()[1:] == [say("nothing_to_stop", "ru"), say("stopped", "ru")]


@pytest.mark.parametrize(("who", "stops"), [(2, True), (1, True), (3, False)])
@pytest.mark.parametrize("ledger_knows", [True, False])
async def test_the_button_in_a_group_is_the_askers_and_the_admins(desk: Desk, who: int, stops: bool, ledger_knows: bool) -> None:
    group = some_group(desk)
    question = desk.api.people[2].mentions_bot("A story, please", group)
    await desk.handle()
    task = desk.follow(-100, reply_to=question, author="tg:2" if ledger_knows else None)
    desk.gateway.write(task, "Once upon a time")
    await desk.until(lambda: task.preview_message_id)
    desk.api.people[who].presses(say("stop_button", "en"), group)
    await desk.handle()
    assert desk.gateway.cancelled == ([task.id] if stops else [])
    assert desk.toasts() == [say("stopped" if stops else "not_yours_to_stop", "en")]


async def test_another_groups_answer_cannot_be_stopped(desk: Desk) -> None:
    group = some_group(desk)
    task, foreign = desk.follow(-100, author="tg:2"), desk.gateway.task(-200, author="tg:2")
    desk.gateway.write(task, "Once upon a time")
    await desk.until(lambda: task.preview_message_id)
    message = next(message for message in desk.api.answers(-100))
    assert message.markup is not None
    message.markup["inline_keyboard"][0][0]["callback_data"] = f"stop:{foreign.id}"
    desk.api.people[2].presses(say("stop_button", "en"), group)
    await desk.handle()
    assert desk.gateway.cancelled == []
    assert desk.toasts() == [say("already_written", "en")]


async def test_a_button_that_was_left_behind_goes_away(desk: Desk) -> None:
    group = some_group(desk)
    task = desk.follow(-100, author="tg:2")
    desk.gateway.write(task, "Once upon a time")
    await desk.until(lambda: task.preview_message_id)
    desk.gateway.end(task)
    await desk.live.finish(task.id)
    desk.api.people[3].presses(say("stop_button", "en"), group)
    await desk.handle()
    assert desk.toasts() == [say("already_written", "en")]
    assert not desk.api.answers(-100)[0].markup


async def test_the_stop_command_in_a_group(desk: Desk) -> None:
    group = some_group(desk)
    mine, theirs = desk.gateway.task(-100, author="tg:3"), desk.gateway.task(-100, author="tg:2")
    desk.api.people[3].says("/stop", group)
    await desk.handle()
    assert desk.gateway.cancelled == [mine.id]
    desk.api.people[3].says("/stop", group)
    await desk.handle()
    assert not theirs.is_final
    desk.api.people[1].says("/stop", group)
    await desk.handle()
    assert theirs.is_final
    assert desk.api.texts() == [say(key, "en") for key in ("stopped", "not_yours_to_stop", "stopped")]


async def test_a_slow_telegram_does_not_hold_up_the_stop(desk: Desk) -> None:
    anna = desk.api.person(7)
    anna.says("/start")
    task = desk.follow()
    await desk.until(desk.api.draft)
    desk.api.faults.next(faults.late(0.4), "sendMessageDraft")
    desk.gateway.write(task, "Once upon a time")
    await desk.until(lambda: len(desk.api.record.of("sendMessageDraft")) == 2)
    anna.stops()
    handling = asyncio.create_task(desk.handle())
    await desk.until(lambda: desk.gateway.cancelled)
    assert not handling.done()
    await handling


async def test_a_gateway_that_is_away(desk: Desk) -> None:
    group = some_group(desk)
    anna = desk.api.person(7)
    anna.says("/start")
    draft, task = desk.follow(7), desk.follow(-100, author="tg:2")
    desk.gateway.write(task, "Once upon a time")
    await desk.until(lambda: task.preview_message_id and desk.api.draft())
    desk.gateway.is_away = True
    anna.stops()
    desk.api.people[2].presses(say("stop_button", "en"), group)
    desk.api.say("/stop")
    await desk.handle()
    assert not draft.is_final
    assert desk.toasts() == [say("stop_failed", "en")]
    assert desk.api.texts(7) == [say("stop_failed", "en")] * 2
