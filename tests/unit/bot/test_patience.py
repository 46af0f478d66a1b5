"""Waiting for a gateway that is away."""

import asyncio

import pytest

from ai_assistant.bot import patience
from ai_assistant.bot.gateway_client import GatewayRefusalError
from ai_assistant.errors import AssistantError


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.01, 0.02))


class Gateway:
    """Is away for some attempts."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or AssistantError("HTTP 503")
        self.told = 0

    async def ask(self) -> str:
        if self.failures:
            self.failures -= 1
            raise self.error
        return "accepted"

    async def tell(self) -> None:
        self.told += 1
        raise OSError("Telegram is away as well")


async def test_asked_until_it_answers_and_told_once() -> None:
    gateway = Gateway(8)
    assert await patience.insist(gateway.ask, gateway.tell, tell_seconds=0.03) == "accepted"
    assert (gateway.failures, gateway.told) == (0, 1)


async def test_a_moment_is_not_worth_a_word() -> None:
    gateway = Gateway(2)
    assert await patience.insist(gateway.ask, gateway.tell, tell_seconds=10) == "accepted"
    assert gateway.told == 0


async def test_refusals_are_final() -> None:
    gateway = Gateway(3, GatewayRefusalError("No.", "assistant_not_found"))
    with pytest.raises(GatewayRefusalError):
        await patience.insist(gateway.ask, gateway.tell)
    assert gateway.failures == 2


async def test_a_bot_that_stops_does_not_go_on_asking() -> None:
    gateway = Gateway(1_000_000)
    waiting = asyncio.create_task(patience.insist(gateway.ask, gateway.tell, tell_seconds=10))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)  # the inner task hears of it one step later
    left = gateway.failures
    await asyncio.sleep(0.1)
    assert gateway.failures == left
