"""Showing answers while they are written: a real Bot and Pacer, a scripted Telegram and gateway, in simulated time."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from aiogram.methods import EditMessageText, SendChatAction, SendMessage, SendMessageDraft, TelegramMethod
from scripted_telegram import Answer, ScriptedSession, flood, refusal, scripted_bot
from simulated_time import simulated

from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.live import Live
from ai_assistant.bot.preview_view import draft_id_of
from ai_assistant.bot.texts import say
from live_gateway import LiveGateway, LiveTask

GROUP = -100
STOPPED, WORDS = say("stopped", "en"), "word "


class Stage:
    """Telegram, gateway and the previews between them."""

    def __init__(self, latency: float = 0.05) -> None:
        self.answers: list[tuple[type, Answer]] = []
        """For the next calls of a kind, in order."""
        self.bot = scripted_bot(self.script, latency)
        self.session = cast(ScriptedSession, self.bot.session)
        self.gateway = LiveGateway()
        pacer = cast(Any, self.session.middleware[0])
        self.live = Live(self.bot, cast(GatewayClient, self.gateway), pacer)

    def script(self, method: TelegramMethod[Any]) -> Answer:
        for index, (kind, answer) in enumerate(self.answers):
            if isinstance(method, kind):
                del self.answers[index]
                return answer
        return None

    def task(self, chat_id: int = 7, **options: Any) -> LiveTask:
        """One that is followed."""
        task = self.gateway.task(chat_id, **options)
        self.live.follow(task.id, task.target)
        return task

    async def write(self, task: LiveTask, seconds: float, text: str = WORDS) -> None:
        """A piece every 50 ms, as workers do."""
        for _ in range(round(seconds / 0.05)):
            self.gateway.write(task, text)
            await asyncio.sleep(0.05)

    def of(self, *kinds: type, chat_id: int | None = None) -> list[tuple[float, Any]]:
        found = [(at, method) for at, method in self.session.calls if isinstance(method, kinds)]
        return [(at, method) for at, method in found if chat_id in (None, getattr(method, "chat_id", None))]

    def texts(self, *kinds: type) -> list[str | None]:
        return [method.text for _, method in self.of(*(kinds or (SendMessageDraft, SendMessage, EditMessageText)))]


def staged(test: Callable[[Stage], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run it in simulated time, and see that nothing is left over."""

    async def play() -> None:
        stage = Stage()
        await test(stage)
        await stage.live.stop()
        assert stage.gateway.streams == 0
        assert len(asyncio.all_tasks()) == 1

    def run() -> None:
        simulated(play())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


@staged
async def test_a_draft_thinks_at_once_then_flows(stage: Stage) -> None:
    task = stage.task(thread_id=5)
    await asyncio.sleep(0.6)
    ((at, first),) = stage.of(SendMessageDraft)
    assert at < 0.1
    assert (first.text, first.draft_id, first.message_thread_id) == (None, draft_id_of(task.id), 5)
    assert first.can_stop
    assert not first.keep_on_stop
    begun = asyncio.get_running_loop().time()
    await stage.write(task, 10)
    drafts = stage.of(SendMessageDraft)[1:]
    assert drafts[0][0] - begun <= 1.0
    assert len(drafts) >= 20
    assert min(gaps([at for at, _ in drafts])) >= 0.29
    assert len({draft.text for _, draft in drafts}) == len(drafts), "never without a change"
    assert all(draft.keep_on_stop and draft.draft_id == first.draft_id for _, draft in drafts)
    assert not stage.of(SendChatAction), "it would wipe the draft away"


@staged
async def test_the_queue_is_told_after_a_moment(stage: Stage) -> None:
    task = stage.gateway.task(language="ru")
    task.place = {"position": 3, "eta_seconds": 11.2}
    stage.live.follow(task.id, task.target)
    await asyncio.sleep(0.9)
    assert stage.texts() == [None]
    await asyncio.sleep(1)
    task.place = {"position": 1, "eta_seconds": None}
    stage.gateway.tell(task)
    await asyncio.sleep(1)
    expected = [say("queue_seconds", "ru", position=3, seconds=12), say("queue", "ru", position=1)]
    assert stage.texts() == [None, *expected]


@staged
async def test_why_the_model_does_not_answer_yet(stage: Stage) -> None:
    stage.gateway.assistants = [{"name": "x", "state": "provisioning", "details": {"progress": 43.4}}]
    task = stage.task()
    await asyncio.sleep(3)
    assert stage.texts() == [None, say("preparing_percent", "en", percent=43)]
    stage.gateway.assistants[0]["details"] = {"progress": 80}
    await asyncio.sleep(5)
    assert stage.texts()[2:] == [say("preparing_percent", "en", percent=80)]
    stage.gateway.assistants[0]["state"] = "ready"
    await asyncio.sleep(5)
    await stage.write(task, 0.1)
    await asyncio.sleep(1)
    assert stage.texts()[3] is None
    assert stage.texts()[-1] == "word word"


@staged
async def test_drafts_are_kept_alive(stage: Stage) -> None:
    stage.gateway.write(stage.task(), "Hello")
    await asyncio.sleep(100)
    times = [at for at, _ in stage.of(SendMessageDraft)]
    assert len(times) == 6, "the placeholder, the text, and four times the same"
    assert all(20 <= gap <= 25 for gap in gaps(times[1:]))


@staged
async def test_flood_control_is_obeyed_in_full(stage: Stage) -> None:
    task, other = stage.task(7), stage.task(8)
    await asyncio.sleep(1)
    stage.answers.append((SendMessageDraft, flood(12)))
    writing = asyncio.create_task(stage.write(other, 16))
    await stage.write(task, 16)
    await writing
    times = [at for at, _ in stage.of(SendMessageDraft, chat_id=7)]
    pause = max(gaps(times))
    assert 12 <= pause < 12.6
    refused = times[gaps(times).index(pause)]
    after = next(draft for at, draft in stage.of(SendMessageDraft, chat_id=7) if at > refused)
    assert len(after.text) > 12 / 0.05 * 4, "goes on with the newest text"
    assert max(gaps([at for at, _ in stage.of(SendMessageDraft, chat_id=8)][1:])) < 0.5, "nobody else is held"


@staged
async def test_errors_do_not_end_drafts(stage: Stage) -> None:
    stage.answers += [(SendMessageDraft, refusal(code, "Internal")) for code in (500, 502, 400)]
    task = stage.task()
    await stage.write(task, 15)
    drafts = stage.of(SendMessageDraft)
    assert len([at for at, _ in drafts if at > 9]) > 10
    assert not stage.of(SendMessage, EditMessageText)


@staged
async def test_refused_entities_become_plain_text(stage: Stage) -> None:
    task = stage.task()
    await asyncio.sleep(0.5)
    stage.answers.append((SendMessageDraft, refusal(400, "Bad Request: can't parse entities: no")))
    await stage.write(task, 1, "**bold** word ")
    bold = [draft.entities for _, draft in stage.of(SendMessageDraft)[1:]]
    assert bold[0]
    assert bold[1:]
    assert not any(bold[1:])


@staged
async def test_where_drafts_do_not_work_messages_are_edited(stage: Stage) -> None:
    stage.answers.append((SendMessageDraft, refusal(400, "Bad Request: TEXTDRAFT_PEER_INVALID")))
    task = stage.task()
    await asyncio.sleep(1)
    await stage.write(task, 5)
    assert len(stage.of(SendMessageDraft)) == 1
    assert len(stage.of(SendMessage)) == 1
    assert len(stage.of(EditMessageText)) >= 2
    assert await stage.live.finish(task.id) == task.preview_message_id is not None
    again = stage.task()
    await stage.write(again, 1)
    assert len(stage.of(SendMessageDraft)) == 1, "not tried for every answer"


@staged
async def test_a_group_sees_typing_then_a_message_that_grows(stage: Stage) -> None:
    task = stage.task(GROUP, thread_id=5, reply_to=33)
    await asyncio.sleep(20)
    assert not stage.of(SendMessage, EditMessageText)
    typing = [at for at, _ in stage.of(SendChatAction)]
    assert 4 <= len(typing) <= 6
    assert all(4 <= gap <= 5 for gap in gaps(typing))
    begun = asyncio.get_running_loop().time()
    await stage.write(task, 180, "x")
    assert all(at < begun + 0.1 for at, _ in stage.of(SendChatAction)), "text flows"
    ((at, message),) = stage.of(SendMessage)
    assert at - begun <= 1.0
    assert (message.message_thread_id, message.reply_parameters.message_id) == (5, 33)
    assert message.reply_markup.inline_keyboard[0][0].callback_data == f"stop:{task.id}"
    shown = stage.of(SendMessage, EditMessageText)
    times = [at for at, _ in shown]
    assert min(gaps(times)) >= 1.0
    assert all(len([at for at in times if start <= at < start + 60]) <= 15 for start in times)
    assert max(gaps(times)) < 10
    assert len(times) > 25
    assert all(method.reply_markup for _, method in shown)
    assert all(method.message_id == task.preview_message_id for _, method in shown[1:])


@staged
async def test_finish_waits_for_what_is_in_the_air(stage: Stage) -> None:
    stage.session.latency = 2.0
    task = stage.task(GROUP)
    stage.gateway.write(task, "Hello")
    while not stage.of(SendMessage):
        await asyncio.sleep(0.1)
    assert await stage.live.finish(task.id) == task.preview_message_id == 1000 + len(stage.session.calls)
    calls = len(stage.session.calls)
    stage.gateway.write(task, "more")
    stage.live.follow(task.id, task.target)
    await asyncio.sleep(30)
    assert len(stage.session.calls) == calls, "it is never shown again"
    assert await stage.live.finish(task.id) == task.preview_message_id


@staged
async def test_who_was_finished_before_is_not_followed(stage: Stage) -> None:
    task = stage.gateway.task()
    assert await stage.live.finish(task.id) is None
    stage.live.follow(task.id, task.target)
    begun = stage.task()
    assert await stage.live.finish(begun.id) is None, "in the moment when it begins"
    await asyncio.sleep(1)
    assert not stage.session.calls


@staged
async def test_answers_of_a_topic_are_shown_one_after_the_other(stage: Stage) -> None:
    first, second, elsewhere = stage.task(), stage.task(), stage.task(thread_id=9)
    await asyncio.sleep(1)
    assert [draft.draft_id for _, draft in stage.of(SendMessageDraft)] == [draft_id_of(task.id) for task in (first, elsewhere)]
    stage.gateway.end(first)
    await stage.live.finish(first.id)
    ended = asyncio.get_running_loop().time()
    await asyncio.sleep(2)
    at, draft = stage.of(SendMessageDraft)[2]
    assert draft.draft_id == draft_id_of(second.id)
    assert at >= ended + 1, "the last part of the first answer would wipe it away"


@staged
async def test_one_request_in_the_air_per_chat(stage: Stage) -> None:
    stage.session.latency = 0.5
    tasks = [stage.task(thread_id=thread) for thread in range(1, 4)]
    await asyncio.gather(*(stage.write(task, 10) for task in tasks))
    times = [at for at, _ in stage.of(SendMessageDraft)]
    assert min(gaps(times)) >= 0.5 - 1e-6
    counts = [len([1 for _, draft in stage.of(SendMessageDraft) if draft.message_thread_id == thread]) for thread in (1, 2, 3)]
    assert min(counts) > 3


@staged
async def test_a_restarted_bot_goes_on(stage: Stage) -> None:
    stage.gateway.is_away = True
    stage.live.resume()
    group, private, third = stage.gateway.task(GROUP), stage.gateway.task(7), stage.gateway.task(8)
    group.preview_message_id = 50
    group.text = "So far"
    await asyncio.sleep(8)
    stage.gateway.is_away = False
    await stage.live.resume()
    await asyncio.sleep(1)
    assert {draft.draft_id for _, draft in stage.of(SendMessageDraft)} == {draft_id_of(task.id) for task in (private, third)}
    ((_, edit),) = stage.of(EditMessageText)
    assert (edit.message_id, edit.text) == (50, "So far")


@staged
async def test_a_gateway_that_goes_and_comes_back(stage: Stage) -> None:
    task = stage.task()
    stage.gateway.write(task, "Hello, ")
    await asyncio.sleep(1)
    stage.gateway.is_away = True
    stage.gateway.write(task, "wor")
    await asyncio.sleep(60)
    stage.gateway.is_away = False
    stage.gateway.write(task, "ld")
    await asyncio.sleep(6)
    assert stage.texts()[-1] == "Hello, world"


@staged
async def test_stopped_and_nothing_kept(stage: Stage) -> None:
    task = stage.task(GROUP)
    stage.gateway.write(task, "Hello")
    await asyncio.sleep(2)
    task.text = ""
    stage.gateway.end(task, "cancelled")
    await asyncio.sleep(2)
    ((_, edit),) = stage.of(EditMessageText)
    assert (edit.text, edit.reply_markup, edit.message_id) == (STOPPED, None, task.preview_message_id)


@staged
async def test_no_message_before_the_earlier_answers_have_arrived(stage: Stage) -> None:
    """Telegram or a dead bot's lease holds them up, and what is sent stays where it is."""
    earlier, elsewhere, later = stage.gateway.task(GROUP), stage.gateway.task(GROUP, thread_id=5), stage.gateway.task(GROUP)
    stage.gateway.end(earlier)
    stage.gateway.write(elsewhere, "there")
    stage.gateway.write(later, "here")
    # a restarted bot knows of those alone that are not written yet
    await stage.live.resume()
    await asyncio.sleep(10)
    assert stage.texts() == ["there"], "another topic is another row"
    stage.gateway.is_away = True
    earlier.is_delivered = True
    await asyncio.sleep(5)
    assert stage.texts() == ["there"], "nobody knows"
    stage.gateway.is_away = False
    await asyncio.sleep(10)
    assert stage.texts() == ["there", "here"]


@staged
async def test_a_message_that_may_have_arrived_is_not_sent_twice(stage: Stage) -> None:
    stage.answers.append((SendMessage, refusal(502, "Bad Gateway")))
    task = stage.task(GROUP)
    await stage.write(task, 30)
    assert len(stage.of(SendMessage)) == 1
    assert await stage.live.finish(task.id) is None


@staged
async def test_a_chat_that_blocked_the_bot_is_left_alone(stage: Stage) -> None:
    stage.answers.append((SendMessageDraft, refusal(403, "Forbidden: bot was blocked by the user")))
    await stage.write(stage.task(), 10)
    assert len(stage.session.calls) == 1


@staged
async def test_hundreds_at_once(stage: Stage) -> None:
    tasks = [stage.task(chat_id) for chat_id in range(1, 201)]
    await asyncio.gather(*(stage.write(task, 0.1) for task in tasks))
    assert stage.gateway.streams == 200
    await asyncio.sleep(25)
    assert {draft.chat_id for _, draft in stage.of(SendMessageDraft) if draft.text} == set(range(1, 201))
    for task in tasks:
        stage.gateway.end(task)
    await asyncio.sleep(1)
    assert stage.gateway.streams == 0
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("task_id", ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_draft_ids(task_id: str) -> None:
    assert 1 <= draft_id_of(task_id) < 2**31
    assert draft_id_of(task_id) == draft_id_of(task_id.upper())
