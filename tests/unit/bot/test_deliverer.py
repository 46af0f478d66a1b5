"""Sending what the ledger says is due, against a ledger and a Telegram that are scripts."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from aiogram import Bot
from aiogram.exceptions import TelegramNetworkError, TelegramRetryAfter
from aiogram.methods import SendMessage

from ai_assistant.bot.deliverer import Deliverer
from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from ai_assistant.bot.texts import say
from ai_assistant.errors import AssistantError

MARK = say("resent", "en")


class Double:
    """Gateway and Telegram in one."""

    def __init__(self, *claims: dict[str, Any]) -> None:
        self.claims = list(claims)
        self.reports: list[tuple[Any, ...]] = []
        self.sent: list[str] = []
        self.errors: dict[str, list[Exception]] = {}
        """Raised by the next calls of `send`, or by the next reports of an event."""

    def fail(self, name: str) -> None:
        if errors := self.errors.get(name):
            raise errors.pop(0)

    async def claim(self, *_: Any) -> list[dict[str, Any]]:
        if not self.claims:
            await asyncio.Event().wait()
        return [self.claims.pop(0)]

    async def report(self, _: str, attempt: int, event: str, **details: Any) -> None:
        details.pop("lease_seconds")
        self.fail(event)
        self.reports.append((attempt, event, *details.values()))

    async def send_message(self, chat_id: int, text: str, **_: Any) -> Any:
        self.fail("send")
        self.sent.append(text)
        return SimpleNamespace(message_id=100 + len(self.sent))

    async def run(self) -> "Double":
        deliverer = Deliverer(cast(Bot, self), cast(GatewayClient, self))
        deliverer.start()
        while self.claims:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        await deliverer.stop(1)
        return self


def claimed(text: str, attempt: int = 1, *, parts: list[int] | None = None, uncertain: bool = False) -> dict[str, Any]:
    task = {"text": text, "error": None, "status": "succeeded"}
    target = {"chat_id": 7, "language": "en"}
    return {"id": "d", "attempt": attempt, "target": target, "task": task, "parts": parts or [], "uncertain": uncertain}


async def test_parts_are_told_before_and_after() -> None:
    double = await Double(claimed("a" * 4000 + "b" * 100)).run()
    assert double.sent == ["a" * 4000, "b" * 100]
    assert double.reports == [
        (1, "in_flight", 0, 2),
        (1, "part_done", 0, 101),
        (1, "in_flight", 1, 2),
        (1, "part_done", 1, 102),
    ]


async def test_only_the_uncertain_part_is_marked() -> None:
    double = await Double(claimed("a" * 4000 + "b" * 4000 + "c", 2, parts=[11], uncertain=True)).run()
    assert double.sent == [MARK + "b" * 4000, "c"]
    assert all(len(text) <= 4096 for text in double.sent)


async def test_nothing_left_to_send() -> None:
    double = await Double(claimed("a", 2, parts=[11])).run()
    assert (double.sent, double.reports) == ([], [(2, "delivered")])


async def test_flood_control_goes_back_to_the_ledger() -> None:
    double = Double(claimed("a"))
    double.errors["send"] = [TelegramRetryAfter(SendMessage(chat_id=7, text="a"), "Too Many Requests", 30)]
    assert (await double.run()).reports == [(1, "in_flight", 0, 1), (1, "retry_after", 30)]


async def test_unknown_outcome_goes_back_to_the_ledger() -> None:
    double = Double(claimed("a"))
    double.errors["send"] = [TelegramNetworkError(SendMessage(chat_id=7, text="a"), "Request timeout error")]
    assert (await double.run()).reports[-1][1:] == ("failed", "HTTP Client says - Request timeout error", True)


async def test_not_sent_unless_the_ledger_knows() -> None:
    for error in (AssistantError("away"), GatewayRefusalError("somebody else's", "stale_attempt")):
        double = Double(claimed("a"))
        double.errors["in_flight"] = [error]
        await double.run()
        assert (double.sent, double.reports) == ([], [])


async def test_what_has_arrived_is_not_sent_again_by_the_same_bot() -> None:
    """The gateway was away when the part had arrived; the lease ran out, and the ledger knows less than we."""
    double = Double(claimed("a" * 4000 + "b"), claimed("a" * 4000 + "b", 2, uncertain=True))
    double.errors["part_done"] = [AssistantError("away")]
    await double.run()
    assert double.sent == ["a" * 4000, "b"]
    assert double.reports[1:] == [
        (2, "in_flight", 0, 2),
        (2, "part_done", 0, 101),
        (2, "in_flight", 1, 2),
        (2, "part_done", 1, 102),
    ]


async def test_a_failed_answer_is_a_sentence() -> None:
    item = claimed(" ")
    item["task"]["error"] = {"code": "x", "message": "The model is gone."}
    assert (await Double(item).run()).sent == ["That did not work: The model is gone."]
    assert (await Double(claimed("")).run()).sent == [say("empty", "en")]
