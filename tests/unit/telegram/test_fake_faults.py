"""Calls that go wrong, by script and by chance, and who does not wait."""

import asyncio

import pytest
from aiogram import Bot
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from telegram import BotApi, Chances, Limits, faults


async def test_script(api: BotApi, bot: Bot) -> None:
    api.say("Hi", user=7)
    api.say("Hi", user=8)
    api.faults.next(faults.server_error(), "sendMessage", 8, times=2)
    api.faults.next(faults.refusal(400, "Bad Request: can't parse entities: for once"), "sendMessage")
    await bot.send_chat_action(8, "typing")
    with pytest.raises(TelegramBadRequest, match="for once"):
        await bot.send_message(7, "one")
    for _ in range(2):
        with pytest.raises(TelegramServerError, match="Bad Gateway"):
            await bot.send_message(8, "two")
    await bot.send_message(8, "three")
    api.faults.next(faults.server_error(500, done=True), chat_id=7)
    with pytest.raises(TelegramServerError):
        await bot.send_message(7, "four")
    assert api.texts() == ["three", "four"]
    assert [call.done for call in api.record.of("sendMessage")] == [False, False, False, True, True]
    assert api.record.outcomes("sendMessage")["Bad Gateway"] == 2
    assert api.record.outcomes("sendMessage")["Internal Server Error"] == 1


async def test_always_and_clear(api: BotApi, bot: Bot) -> None:
    api.say("Hi")
    api.faults.always(faults.server_error(), "sendMessage")
    for _ in range(3):
        with pytest.raises(TelegramServerError):
            await bot.send_message(7, "x")
    # what goes wrong for all methods does not touch the polling, unless it is named
    api.faults.next(faults.server_error())
    assert len(await bot.get_updates()) == 1
    api.faults.next(faults.refusal(409, "Conflict: another"), "getUpdates")
    with pytest.raises(TelegramConflictError):
        await bot.get_updates()
    api.faults.clear()
    await bot.send_message(7, "x")
    assert api.texts() == ["x"]


@pytest.mark.parametrize("done", [True, False])
async def test_answers_that_do_not_come(api: BotApi, bot: Bot, done: bool) -> None:
    api.say("Hi")
    api.faults.next(faults.closed(done=done), "sendMessage")
    with pytest.raises(TelegramNetworkError):
        await bot.send_message(7, "closed")
    api.faults.next(faults.garbage(done=done), "sendMessage")
    with pytest.raises(ClientDecodeError):
        await bot.send_message(7, "garbage")
    api.faults.next(faults.no_answer(done=done), "sendMessage")
    with pytest.raises(TelegramNetworkError, match="timeout"):
        await bot.send_message(7, "never", request_timeout=0.2)
    assert api.texts() == (["closed", "garbage", "never"] if done else [])
    assert [call.outcome for call in api.record.of("sendMessage")] == ["closed", "garbage", "no answer"]
    assert [call.done for call in api.record.of("sendMessage")] == [done] * 3
    await bot.send_message(7, "heard")


async def test_late_answers(api: BotApi, bot: Bot) -> None:
    api.say("Hi")
    api.faults.next(faults.late(0.2), "sendMessage")
    call = asyncio.create_task(bot.send_message(7, "late"))
    await asyncio.to_thread(api.wait_for, 1)
    assert not call.done()
    assert (await call).text == "late"
    api.faults.next(faults.late(0.01, done=False), "sendMessage")
    with pytest.raises(TelegramServerError, match="Gateway Timeout"):
        await bot.send_message(7, "never")
    assert api.texts() == ["late"]


async def test_hanging_calls_end(api: BotApi, bot: Bot) -> None:
    """By `clear`, and with the server."""
    api.say("Hi")
    for end in (api.faults.clear, api.stop):
        api.faults.next(faults.no_answer(), "sendMessage")
        api.record.calls.clear()
        call = asyncio.create_task(bot.send_message(7, "never"))
        await asyncio.to_thread(api.record.wait_until, lambda: bool(api.record.outcomes("sendMessage")["no answer"]), 5)
        await asyncio.to_thread(end)
        with pytest.raises(TelegramNetworkError, match=r"Disconnected|reset"):
            await call


async def test_calls_inside_a_window(api: BotApi, bot: Bot) -> None:
    api.flood.grace = 0.0
    api.say("Hi", user=7)
    api.say("Hi", user=8)
    api.flood_next(60, chat_id=7)
    with pytest.raises(TelegramRetryAfter) as error:
        await bot.send_message(7, "x")
    assert error.value.retry_after == 60
    assert api.flood.violations == []
    assert 59 < api.flood.seconds_left(7) <= 60
    await bot.send_message(8, "another chat")
    for call in (bot.send_message(7, "x"), bot.send_chat_action(7, "typing"), bot.send_message_draft(7, 1, text="x")):
        with pytest.raises(TelegramRetryAfter) as error:
            await call
        assert 58 <= error.value.retry_after <= 60
    assert [(item.method, item.chat_id) for item in api.flood.violations] == [
        ("sendMessage", 7), ("sendChatAction", 7), ("sendMessageDraft", 7)
    ]  # fmt: skip
    assert all(58 < item.seconds_left <= 60 for item in api.flood.violations)
    # the window is over when it was said to be
    api.clock.advance(60)
    assert api.flood.seconds_left(7) == 0
    await bot.send_message(7, "x")
    assert len(api.flood.violations) == 3


async def test_calls_that_were_on_their_way(api: BotApi, bot: Bot) -> None:
    """They are refused too and are no violation; the refused call once more is one at once."""
    api.flood.grace = 30.0
    api.say("Hi")
    api.flood_next(60)
    with pytest.raises(TelegramRetryAfter):
        await bot.send_message(7, "x")
    with pytest.raises(TelegramRetryAfter):
        await bot.send_chat_action(7, "typing")
    assert api.flood.violations == []
    with pytest.raises(TelegramRetryAfter):
        await bot.send_message(7, "x")
    assert [item.method for item in api.flood.violations] == ["sendMessage"]


async def test_chances(api: BotApi, bot: Bot) -> None:
    api.say("Hi")
    api.flood.grace = 30.0

    async def run(seed: int) -> list[str]:
        api.faults.clear()
        api.record.calls.clear()
        api.faults.chances = Chances(seed, flood=0.1, retry_after=(1,), server_error=0.05, closed=0.02, done=0.5)
        for number in range(200):
            try:
                await bot.send_message(7, str(number))
            except TelegramRetryAfter:
                api.flood.forget()
            except (TelegramServerError, TelegramNetworkError):
                pass
        return [call.outcome for call in api.record.of("sendMessage")]

    first = await run(1)
    drawn = api.faults.chances
    assert drawn is not None
    assert 10 <= drawn.drawn["flood"] <= 32
    assert 3 <= drawn.drawn["server_error"] <= 20
    assert first == await run(1)
    assert first != await run(2)
    assert len({call.done for call in api.record.of("sendMessage") if call.code in (500, 502, 504)}) == 2


async def test_natural_limits(api: BotApi, bot: Bot) -> None:
    api.flood.limits = Limits()
    for user in range(1, 41):
        api.say("Hi", user=user)
    api.group(-100)
    for number in range(3):
        await bot.send_message(1, str(number))
    await bot.send_chat_action(1, "typing")
    with pytest.raises(TelegramRetryAfter) as error:
        await bot.send_message(1, "4")
    assert error.value.retry_after == 1
    assert api.flood.seconds_left(1) > 0

    results = await asyncio.gather(*(bot.send_message(user, "x") for user in range(2, 41)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, TelegramRetryAfter)]
    assert 1 <= len(refused) <= 12
    assert api.flood.violations == []


def test_limits_of_groups() -> None:
    limits = Limits(chat_burst=100)
    assert [limits.wait(-100, 10 + number / 10) for number in range(20)] == [0.0] * 20
    assert limits.wait(-100, 12) == pytest.approx(58)
    assert limits.wait(7, 12) == 0
    assert limits.wait(-100, 70.05) == 0
    assert limits.wait(-100, 70.06) > 0
