"""Limits, pauses, priorities and repetitions of requests, in simulated time and through a real aiogram Bot."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import aiohttp
import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramAPIError, TelegramBadRequest, TelegramNetworkError, TelegramRetryAfter, TelegramServerError
from aiogram.methods import SendMessage
from scripted_telegram import Answer, ScriptedSession, flood, refusal, scripted_bot
from simulated_time import simulated

from ai_assistant.bot.pacing import Pacer, PreviewSkipped, Urgency, urgency

GROUP = -100


def calls(bot: Bot) -> ScriptedSession:
    assert isinstance(bot.session, ScriptedSession)
    return bot.session


def pacer(bot: Bot) -> Pacer:
    found = bot.session.middleware[0]
    assert isinstance(found, Pacer)
    return found


async def send(bot: Bot, chat: int, level: Urgency = Urgency.REPLY, text: str = "x") -> None:
    with urgency(level):
        await bot.send_message(chat, text)


async def persist(bot: Bot, chat: int, level: Urgency, text: str = "x") -> None:
    """As the ledger does: come again when Telegram says."""
    while True:
        try:
            return await send(bot, chat, level, text)
        except TelegramRetryAfter as error:
            await asyncio.sleep(error.retry_after)


def most_within(times: list[float], seconds: float) -> int:
    """The most requests in any window of that length."""
    return max(sum(at <= other < at + seconds - 1e-6 for other in times) for at in times)


async def every(*awaited: Coroutine[Any, Any, None]) -> list[BaseException | None]:
    return await asyncio.gather(*awaited, return_exceptions=True)


def test_a_bot_makes_thirty_requests_a_second() -> None:
    async def main() -> None:
        bot = scripted_bot()
        await every(*(persist(bot, chat, Urgency.FINAL) for chat in range(1, 301)))
        times = calls(bot).times()
        assert len(times) == 300
        assert most_within(times, 1) <= 30
        assert times[-1] < 11  # and no slower than that

    simulated(main())


def test_a_chat_gets_a_burst_and_then_one_message_a_second() -> None:
    async def main() -> None:
        bot = scripted_bot()
        for _ in range(10):
            await send(bot, 1)
        times = calls(bot).times(1)
        assert times[2] - times[0] < 1
        assert 6.5 < times[-1] - times[0] < 8

    simulated(main())


def test_a_group_gets_twenty_messages_a_minute_edits_included() -> None:
    async def main() -> None:
        bot = scripted_bot()

        async def talk() -> None:
            for number in range(50):
                while True:
                    try:
                        with urgency(Urgency.FINAL):
                            if number % 2:
                                await bot.edit_message_text("x", chat_id=GROUP, message_id=5)
                            else:
                                await bot.send_message(GROUP, "x")
                        break
                    except TelegramRetryAfter as error:
                        await asyncio.sleep(error.retry_after)

        await talk()
        times = calls(bot).times(GROUP)
        assert len(times) == 50
        assert most_within(times, 60) <= 20
        assert times[-1] < 150

    simulated(main())


def test_previews_leave_room_for_the_answer() -> None:
    async def main() -> None:
        bot = scripted_bot()
        skipped = 0
        for _ in range(100):
            try:
                with urgency(Urgency.PREVIEW):
                    await bot.edit_message_text("x", chat_id=GROUP, message_id=5)
            except PreviewSkipped:
                skipped += 1
            await asyncio.sleep(0.5)
        assert len(calls(bot).times()) == 15
        assert skipped == 85 == pacer(bot).counts.previews_skipped
        before = asyncio.get_running_loop().time()
        await send(bot, GROUP, Urgency.FINAL)
        assert asyncio.get_running_loop().time() - before < 1

    simulated(main())


def test_drafts_may_be_faster_than_messages_and_are_always_previews() -> None:
    async def main() -> None:
        bot = scripted_bot()
        for _ in range(20):
            await bot.send_message_draft(7, 1, text="x")
            await asyncio.sleep(0.2)
        await send(bot, 7, Urgency.FINAL)
        assert len(calls(bot).times(7)) == 21
        calls(bot).script = lambda _: flood(9)
        with pytest.raises(TelegramRetryAfter):
            await bot.send_chat_action(7, "typing")
        with pytest.raises(PreviewSkipped):
            await bot.send_chat_action(7, "typing")

    simulated(main())


@pytest.mark.parametrize("level", [Urgency.FINAL, Urgency.REPLY, Urgency.EDIT, Urgency.BROADCAST, Urgency.PREVIEW])
def test_nothing_goes_to_a_chat_during_its_pause(level: Urgency) -> None:
    async def main() -> None:
        answers: list[Answer] = [flood(149)]
        bot = scripted_bot(lambda _: answers.pop() if answers else None)
        with pytest.raises(TelegramRetryAfter) as first:
            await send(bot, 7, level)
        assert first.value.retry_after == 149
        assert pacer(bot).is_held(7)
        is_patient = level in (Urgency.REPLY, Urgency.EDIT)
        while asyncio.get_running_loop().time() < (142 if is_patient else 147):
            await asyncio.sleep(1)
            with pytest.raises((TelegramRetryAfter, PreviewSkipped)):
                await send(bot, 7, level)
            await send(bot, 8, Urgency.REPLY)  # others notice nothing
        assert len(calls(bot).times(7)) == 1
        await asyncio.sleep(8 if is_patient else 3)
        await send(bot, 7, level)
        assert not pacer(bot).is_held(7)
        assert pacer(bot).counts.floods == 1

    simulated(main())


def test_a_pause_that_is_known_says_how_long_it_lasts() -> None:
    async def main() -> None:
        bot = scripted_bot(lambda _: flood(100))
        with pytest.raises(TelegramRetryAfter):
            await send(bot, 7)
        await asyncio.sleep(60.5)
        with pytest.raises(TelegramRetryAfter) as known:
            await send(bot, 7, Urgency.FINAL)
        assert known.value.retry_after == 40
        assert len(calls(bot).calls) == 1

    simulated(main())


def test_replies_outlive_short_pauses_and_answers_do_not_wait() -> None:
    async def main() -> None:
        answers: list[Answer] = [flood(5), flood(3)]
        bot = scripted_bot(lambda _: answers.pop(0) if answers else None)
        await send(bot, 7)
        assert [round(at) for at in calls(bot).times(7)] == [0, 5] or len(calls(bot).times(7)) == 2

    async def final() -> None:
        bot = scripted_bot(lambda _: flood(2))
        with pytest.raises(TelegramRetryAfter):
            await send(bot, 7, Urgency.FINAL)
        assert asyncio.get_running_loop().time() < 1

    simulated(final())
    with pytest.raises(TelegramRetryAfter):  # five seconds and three are too many
        simulated(main())

    async def short() -> None:
        answers: list[Answer] = [flood(5)]
        bot = scripted_bot(lambda _: answers.pop(0) if answers else None)
        await send(bot, 7)
        first, second = calls(bot).times(7)
        assert 5 <= second - first < 5.2

    simulated(short())


def test_the_urgent_go_first_and_chats_take_turns() -> None:
    async def main() -> None:
        bot = scripted_bot(latency=0.01)
        # thirty others have used this second up
        await every(*(send(bot, chat) for chat in range(1000, 1030)))
        order = [
            *(send(bot, 1, Urgency.BROADCAST, f"broadcast {n}") for n in range(2)),
            *(send(bot, 2, Urgency.EDIT, f"edit {n}") for n in range(2)),
            *(send(bot, 3, Urgency.REPLY, f"reply {n}") for n in range(2)),
            *(send(bot, 4, Urgency.FINAL, f"final {n}") for n in range(2)),
        ]
        await every(*order)
        texts = [method.text for _, method in calls(bot).calls[30:] if isinstance(method, SendMessage)]
        assert texts[0] == "final 0"
        assert texts.index("reply 0") < texts.index("edit 0")
        for kind in ("final", "reply", "edit", "broadcast"):
            assert texts.index(f"{kind} 0") < texts.index(f"{kind} 1")

    simulated(main())


def test_a_flood_of_one_chat_does_not_starve_another() -> None:
    async def main() -> None:
        bot = scripted_bot(latency=0.02)
        noise = [asyncio.create_task(send(bot, 1)) for _ in range(300)]
        await asyncio.sleep(0)
        for _ in range(5):
            before = asyncio.get_running_loop().time()
            await send(bot, 2)
            assert asyncio.get_running_loop().time() - before < 1.1
        await asyncio.gather(*noise, return_exceptions=True)
        assert 3 <= len(calls(bot).times(1)) <= 10  # the rest were told that it would take too long

    simulated(main())


def test_one_request_of_a_chat_at_a_time() -> None:
    async def main() -> None:
        floods: list[Answer] = [flood(30)]
        bot = scripted_bot(lambda _: floods.pop() if floods else None, latency=0.5)
        outcomes = await every(*(send(bot, 7, Urgency.FINAL) for _ in range(3)))
        assert [type(outcome) for outcome in outcomes] == [TelegramRetryAfter] * 3
        assert len(calls(bot).times(7)) == 1  # the others had not left yet

    simulated(main())


def test_a_preview_that_hangs_holds_the_answer_up_for_a_moment_only() -> None:
    async def main() -> None:
        bot = scripted_bot(latency=200)
        preview = asyncio.create_task(send(bot, 7, Urgency.PREVIEW))
        await asyncio.sleep(1)
        with pytest.raises(PreviewSkipped):
            await send(bot, 7, Urgency.PREVIEW)
        calls(bot).latency = 0.1
        await send(bot, 7, Urgency.FINAL)
        assert asyncio.get_running_loop().time() < 6
        with pytest.raises(TelegramNetworkError):
            await preview

    simulated(main())


def test_whoever_gives_up_leaves_no_trace() -> None:
    async def main() -> None:
        bot = scripted_bot(latency=2)
        on_its_way = asyncio.create_task(send(bot, 7))
        await asyncio.sleep(0.1)
        waiting = [asyncio.create_task(send(bot, 7)) for _ in range(5)]
        await asyncio.sleep(0.1)
        for task in (*waiting, on_its_way):
            task.cancel()
        await asyncio.gather(*waiting, on_its_way, return_exceptions=True)
        calls(bot).latency = 0.1
        before = asyncio.get_running_loop().time()
        await send(bot, 7)
        assert asyncio.get_running_loop().time() - before < 0.2
        # cancelled in the moment in which it is allowed to go
        first = asyncio.create_task(send(bot, 7))
        second = asyncio.create_task(send(bot, 7))
        first.add_done_callback(lambda _: second.cancel())
        await asyncio.gather(first, second, return_exceptions=True)
        await send(bot, 7)

    simulated(main())


def test_pauses_of_methods_without_a_chat_concern_these_methods() -> None:
    async def main() -> None:
        bot = scripted_bot(lambda method: flood(3600) if method.__api_method__ == "setMyCommands" else None)
        for _ in range(2):
            with pytest.raises(TelegramRetryAfter):
                await bot.set_my_commands([])
        assert len(calls(bot).calls) == 1
        await send(bot, 7)

    simulated(main())


def test_when_every_chat_is_refused_the_whole_bot_pauses() -> None:
    async def main() -> None:
        is_flooded = True
        bot = scripted_bot(lambda _: flood(20) if is_flooded else None)
        await every(*(send(bot, chat, Urgency.FINAL) for chat in range(1, 101)))
        assert len(calls(bot).calls) <= 30
        is_flooded = False
        with pytest.raises(TelegramRetryAfter):
            await send(bot, 5000, Urgency.FINAL)
        await asyncio.sleep(20)
        await send(bot, 5000, Urgency.FINAL)

    simulated(main())


def test_scattered_refusals_are_about_their_chats() -> None:
    async def main() -> None:
        bot = scripted_bot(lambda method: flood(60) if method.chat_id % 3 == 0 else None)  # type: ignore[attr-defined]
        outcomes = await every(*(persist(bot, chat, Urgency.FINAL) for chat in range(1, 100) if chat % 3))
        assert not any(outcomes)
        assert not pacer(bot).is_held(1)

    simulated(main())


def test_flood_control_without_its_field() -> None:
    async def main() -> None:
        bot = scripted_bot(lambda _: refusal(429, "Too Many Requests: retry after 17"))
        with pytest.raises(TelegramRetryAfter) as error:
            await send(bot, 7, Urgency.FINAL)
        assert error.value.retry_after == 17
        assert pacer(bot).is_held(7)

    simulated(main())


def network_error(cause: Exception | None = None) -> TelegramNetworkError:
    error = TelegramNetworkError(SendMessage(chat_id=7, text="x"), "HTTP error")
    error.__cause__ = cause
    return error


NOT_CONNECTED = aiohttp.ClientConnectorError(None, OSError("refused"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "level", "sends", "edits"),
    [
        (refusal(502, "Bad Gateway"), Urgency.REPLY, 1, 4),
        (network_error(TimeoutError()), Urgency.REPLY, 1, 4),
        (network_error(NOT_CONNECTED), Urgency.REPLY, 4, 4),
        (refusal(400, "Bad Request: message is not modified"), Urgency.REPLY, 1, 1),
        (refusal(413, "Request Entity Too Large"), Urgency.REPLY, 1, 1),
        # the ledger's business
        (refusal(502, "Bad Gateway"), Urgency.FINAL, 1, 1),
        (network_error(NOT_CONNECTED), Urgency.FINAL, 1, 1),
        (refusal(502, "Bad Gateway"), Urgency.PREVIEW, 1, 1),
    ],
)
def test_only_what_is_safe_is_repeated(error: Answer, level: Urgency, sends: int, edits: int) -> None:
    async def main() -> None:
        bot = scripted_bot(lambda _: error)
        with pytest.raises(TelegramAPIError):
            await send(bot, 7, level)
        assert len(calls(bot).calls) == sends
        calls(bot).calls.clear()
        await asyncio.sleep(60)
        with pytest.raises(TelegramAPIError), urgency(level):
            await bot.edit_message_text("x", chat_id=7, message_id=5)
        assert len(calls(bot).calls) == edits

    simulated(main())


def test_repetition_ends_with_success_or_another_error() -> None:
    async def main() -> None:
        answers: list[Answer] = [refusal(500, "Internal Server Error"), network_error(TimeoutError())]
        bot = scripted_bot(lambda _: answers.pop() if answers else None)
        assert (await bot.get_me()).username == "test_bot"
        assert pacer(bot).counts.repeated == 2
        answers[:] = [refusal(400, "Bad Request: QUERY_ID_INVALID"), refusal(502, "Bad Gateway")]
        with pytest.raises(TelegramBadRequest):
            await bot.answer_callback_query("1")

    simulated(main())


def test_the_pollers_request_passes() -> None:
    async def main() -> None:
        bot = scripted_bot(lambda _: refusal(502, "Bad Gateway"))
        with pytest.raises(TelegramServerError):
            await bot.get_updates()
        assert len(calls(bot).calls) == 1
        assert pacer(bot).counts.requests == 0

    simulated(main())


def test_chats_are_forgotten_when_their_windows_are_over() -> None:
    async def main() -> None:
        bot = scripted_bot(lambda method: flood(40) if method.chat_id % 7 == 0 else None, latency=0.001)  # type: ignore[attr-defined]
        for chat in range(1, 2001):
            with pytest.MonkeyPatch.context():
                await every(send(bot, -chat if chat % 2 else chat, Urgency.FINAL))
        await asyncio.sleep(120)
        await send(bot, 1, Urgency.FINAL)
        assert len(pacer(bot)._turns.windows) <= 1
        assert len(pacer(bot)._turns) == 0

    simulated(main())
