"""What is said of trouble with Telegram, how often, and how long the next try waits."""

import logging

import pytest
from aiogram.exceptions import (
    TelegramConflictError,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.methods import GetUpdates
from aiohttp_socks import ProxyError

from ai_assistant.bot.trouble import Trouble, sentence_of

METHOD = GetUpdates()
CONFLICT = TelegramConflictError(METHOD, "Conflict: terminated by other getUpdates request")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def network(cause: Exception | None = None) -> TelegramNetworkError:
    error = TelegramNetworkError(METHOD, "ClientConnectorError: Cannot connect to host")
    error.__cause__ = cause
    return error


def test_pauses_grow_and_begin_anew() -> None:
    trouble = Trouble()
    assert [trouble.pause(network()) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    trouble.over()
    assert trouble.sentence is None
    assert trouble.pause(network()) == 1
    assert trouble.pause(TelegramRetryAfter(METHOD, "Too Many Requests", 17)) == 17


def test_two_pollers_do_not_fight() -> None:
    """Each gets through between the other's tries, and yet both come more and more seldom."""
    clock = Clock()
    trouble = Trouble(clock)
    pauses = []
    for _ in range(6):
        pause = trouble.pause(CONFLICT)
        pauses.append(pause)
        clock.now += pause
        trouble.over()
        clock.now += pause
    assert pauses == [5, 10, 20, 40, 60, 60]
    clock.now += 300
    assert trouble.pause(CONFLICT) == 5


def test_a_sentence_is_repeated_every_half_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    trouble = Trouble(clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(61):
            trouble.pause(network())
            clock.now += 1
        assert len(caplog.records) == 3
        trouble.pause(TelegramServerError(METHOD, "Bad Gateway"))
    assert len(caplog.records) == 4


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (network(), "where it is blocked set AI_ASSISTANT_TELEGRAM_PROXY"),
        (network(ProxyError("407 Proxy Authentication Required", 407)), "another user name or password"),
        (network(ProxyError("Connection refused", 5)), "see AI_ASSISTANT_TELEGRAM_PROXY"),
        (TelegramServerError(METHOD, "Bad Gateway"), "trouble of its own (Bad Gateway)"),
        (CONFLICT, "Another process polls with this token"),
        (TelegramConflictError(METHOD, "Conflict: can't use getUpdates while webhook is active"), "has set a webhook"),
        (TimeoutError(), "does not answer in time"),
    ],
)
def test_sentences(error: Exception, part: str) -> None:
    assert part in sentence_of(error)
