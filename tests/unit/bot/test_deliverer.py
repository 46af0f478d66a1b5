"""Sending what the ledger says is due: a real aiogram Bot in simulated time, against a ledger in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from aiogram.exceptions import TelegramNetworkError
from aiogram.methods import DeleteMessage, EditMessageText, SendDocument, SendMessage, TelegramMethod
from ledger_double import Entry, LedgerDouble
from scripted_telegram import Answer, ScriptedSession, flood, refusal, scripted_bot
from simulated_time import simulated

from ai_assistant.bot.deliverer import Deliverer, no_previews
from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.pacing import Pacer
from ai_assistant.bot.texts import say

MARK = say("resent", "en")
LONG = "a" * 3900 + "\n\n" + "b" * 3900 + "\n\n" + "c" * 10
TARGET_GROUP = {"chat_id": -100, "thread_id": 3, "reply_to": 55, "language": "en", "is_group": True}


class Scene:
    """One bot, its Telegram and its ledger."""

    def __init__(self, *answers: Answer, before_final: Callable[[str], Awaitable[int | None]] = no_previews) -> None:
        self.answers = list(answers)
        """Of Telegram to the next requests; then all is well."""
        self.ledger = LedgerDouble(lambda event: self.trouble.pop(event, None))
        self.trouble: dict[str, str] = {}
        """By event: what happens to the next call of the gateway."""
        self.bot = scripted_bot(lambda _: self.answers.pop(0) if self.answers else None)
        self.before_final = before_final

    def deliverer(self) -> Deliverer:
        deliverer = Deliverer(self.bot, cast(GatewayClient, self.ledger), self.before_final)
        deliverer.start()
        return deliverer

    async def settle(self, seconds: float = 300) -> "Scene":
        deliverer = self.deliverer()
        await self.ledger.settled(seconds)
        await deliverer.stop(3)
        return self

    @property
    def calls(self) -> list[TelegramMethod[Any]]:
        assert isinstance(self.bot.session, ScriptedSession)
        return [method for _, method in self.bot.session.calls]

    @property
    def times(self) -> list[float]:
        assert isinstance(self.bot.session, ScriptedSession)
        return self.bot.session.times()

    @property
    def texts(self) -> list[str]:
        return [method.text for method in self.calls if isinstance(method, SendMessage)]


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    simulated(main())


def delivered(scene: Scene, entry: Entry) -> None:
    assert entry.state == "delivered", entry
    assert not scene.answers


def network_error(cause: Exception) -> TelegramNetworkError:
    error = TelegramNetworkError(SendMessage(chat_id=7, text="x"), "Request timeout error")
    error.__cause__ = cause
    return error


def test_the_plan_is_kept_and_parts_are_told_before_and_after() -> None:
    async def main() -> None:
        scene = Scene()
        entry = scene.ledger.owe(7, LONG)
        await scene.settle()
        assert "".join(scene.texts).replace("\n", "") == LONG.replace("\n", "")
        events = [report[:2] for report in scene.ledger.of(entry)]
        parts = len(scene.texts)
        assert parts >= 2
        assert [event for event, _ in events] == ["planned"] + ["in_flight", "part_done"] * parts
        assert entry.parts == [1001 + number for number in range(parts)]
        silent = [method.disable_notification for method in scene.calls if isinstance(method, SendMessage)]
        assert silent == [True] * (parts - 1) + [False]

    run(main)


def test_a_plan_of_an_earlier_version_is_followed() -> None:
    async def main() -> None:
        scene = Scene()
        plan = [{"kind": "text", "text": text, "entities": []} for text in ("One.", "Two.", "Three.")]
        entry = scene.ledger.owe(7, "Something else.", plan=plan, parts_total=3, parts=[11], uncertain=True)
        await scene.settle()
        assert scene.texts == [MARK + "Two.", "Three."]  # only what is uncertain is marked
        assert entry.parts[0] == 11

    run(main)


def test_nothing_left_to_send() -> None:
    async def main() -> None:
        scene = Scene()
        plan = [{"kind": "text", "text": "One.", "entities": []}]
        entry = scene.ledger.owe(7, plan=plan, parts_total=1, parts=[11])
        await scene.settle()
        assert (scene.calls, scene.ledger.of(entry)) == ([], [("delivered",)])

    run(main)


def test_flood_control_goes_back_to_the_ledger_and_others_go_on() -> None:
    async def main() -> None:
        scene = Scene(flood(149))
        held = scene.ledger.owe(7)
        deliverer = scene.deliverer()
        await asyncio.sleep(1)
        others = [scene.ledger.owe(chat) for chat in range(100, 200)] + [scene.ledger.owe(7, "The next one.")]
        await asyncio.sleep(10)
        assert [entry.state for entry in others] == ["delivered"] * 100 + ["pending"]
        await scene.ledger.settled(200)
        await deliverer.stop(3)
        mine = [at for at, method in zip(scene.times, scene.calls, strict=True) if getattr(method, "chat_id", 0) == 7]
        assert len(mine) == 3
        assert mine[1] - mine[0] >= 149
        assert ("retry_after", 149) in scene.ledger.of(held)
        assert not any(text.startswith(MARK) for text in scene.texts)

    run(main)


def test_held_chats_take_no_places() -> None:
    async def main() -> None:
        scene = Scene()
        pacer = scene.bot.session.middleware[0]
        assert isinstance(pacer, Pacer)
        for chat in range(1, 101):
            pacer.hold(chat, 200)
            scene.ledger.owe(chat)
        free = scene.ledger.owe(500)
        deliverer = scene.deliverer()
        await asyncio.sleep(5)
        assert free.state == "delivered"
        assert len(scene.calls) == 1
        await scene.ledger.settled(300)
        await deliverer.stop(3)
        assert min(scene.times[1:]) >= 200

    run(main)


@pytest.mark.parametrize(
    ("answer", "is_marked"),
    [
        (network_error(TimeoutError()), True),
        (refusal(502, "Bad Gateway"), True),
        (refusal(500, "Internal Server Error: restart, retry"), False),
        (refusal(404, "Not Found"), False),
    ],
)
def test_what_may_have_arrived_is_marked(answer: Answer, is_marked: bool) -> None:
    async def main() -> None:
        scene = Scene(answer)
        entry = scene.ledger.owe(7, "Hello.")
        await scene.settle()
        delivered(scene, entry)
        assert scene.texts == ["Hello.", (MARK if is_marked else "") + "Hello."]

    run(main)


def test_a_preview_becomes_the_first_part() -> None:
    async def main() -> None:
        scene = Scene()
        entry = scene.ledger.owe(-100, LONG, target=TARGET_GROUP, preview_message_id=77)
        await scene.settle()
        first, *others = scene.calls
        assert isinstance(first, EditMessageText)
        assert (first.message_id, first.chat_id) == (77, -100)
        assert all(isinstance(method, SendMessage) and method.message_thread_id == 3 for method in others)
        assert not any(method.reply_parameters for method in others if isinstance(method, SendMessage))
        assert entry.parts[0] == 77

    run(main)


@pytest.mark.parametrize("uncertain", [False, True])
def test_a_preview_that_is_the_answer_already(uncertain: bool) -> None:
    async def main() -> None:
        scene = Scene(refusal(400, "Bad Request: message is not modified: specified new message content"))
        entry = scene.ledger.owe(-100, target=TARGET_GROUP, preview_message_id=77, uncertain=uncertain)
        await scene.settle()
        assert entry.parts == [77]
        assert len(scene.calls) == 1

    run(main)


@pytest.mark.parametrize("uncertain", [False, True])
def test_a_preview_that_is_gone_is_replaced(uncertain: bool) -> None:
    async def main() -> None:
        scene = Scene(refusal(400, "Bad Request: message to edit not found"))
        scene.ledger.owe(-100, "Hello.", target=TARGET_GROUP, preview_message_id=77, uncertain=uncertain)
        await scene.settle()
        edit, sent, removed = scene.calls
        assert isinstance(edit, EditMessageText)
        assert isinstance(sent, SendMessage)
        assert sent.text == (MARK if uncertain else "") + "Hello."
        assert sent.reply_parameters is not None
        assert sent.reply_parameters.message_id == 55
        assert sent.reply_parameters.allow_sending_without_reply
        assert isinstance(removed, DeleteMessage)

    run(main)


def test_a_document() -> None:
    async def main() -> None:
        scene = Scene(network_error(TimeoutError()))
        plan = [{"kind": "document", "filename": "main.py", "text": "print()", "caption": "python"}]
        entry = scene.ledger.owe(7, plan=plan, parts_total=1)
        await scene.settle()
        first, second = scene.calls
        assert isinstance(first, SendDocument)
        assert isinstance(second, SendDocument)
        assert (first.caption, second.caption) == ("python", MARK + "python")
        assert second.document.filename == "main.py"  # type: ignore[union-attr]
        delivered(scene, entry)

    run(main)


def test_a_part_that_telegram_cannot_format_goes_plain_at_once() -> None:
    async def main() -> None:
        scene = Scene(refusal(400, "Bad Request: can't parse entities: unsupported"))
        entry = scene.ledger.owe(7, "**Bold** words.", uncertain=True)
        await scene.settle()
        first, second = scene.calls
        assert isinstance(first, SendMessage)
        assert isinstance(second, SendMessage)
        assert first.entities
        assert first.entities[0].offset == len(MARK)
        assert not second.entities
        assert first.text == second.text == MARK + "Bold words."
        assert scene.times[1] < 1
        assert [report[0] for report in scene.ledger.of(entry)].count("in_flight") == 2

    run(main)


@pytest.mark.parametrize("words", ["message thread not found", "TOPIC_CLOSED", "TOPIC_DELETED"])
def test_a_topic_that_is_gone(words: str) -> None:
    async def main() -> None:
        scene = Scene(refusal(400, f"Bad Request: {words}"))
        entry = scene.ledger.owe(-100, target=TARGET_GROUP)
        await scene.settle()
        first, second = scene.calls
        assert isinstance(first, SendMessage)
        assert isinstance(second, SendMessage)
        assert (first.message_thread_id, second.message_thread_id) == (3, None)
        delivered(scene, entry)

    run(main)


def test_too_long_for_a_message_is_a_file() -> None:
    async def main() -> None:
        scene = Scene(refusal(400, "Bad Request: message is too long"))
        entry = scene.ledger.owe(7, "Hello.")
        await scene.settle()
        assert isinstance(scene.calls[1], SendDocument)
        delivered(scene, entry)

    run(main)


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        (refusal(403, "Forbidden: bot was blocked by the user"), "dead"),
        (refusal(403, "Forbidden: user is deactivated"), "dead"),
        (refusal(400, "Bad Request: chat not found"), "dead"),
        (refusal(400, "Bad Request: not enough rights to send text messages to the chat"), "refused"),
        (refusal(400, "Bad Request: something new"), "refused"),
    ],
)
def test_what_cannot_be_delivered(answer: Answer, event: str) -> None:
    async def main() -> None:
        scene = Scene(answer)
        entry = scene.ledger.owe(7)
        await scene.settle()
        assert scene.ledger.of(entry)[-1][0] == event
        assert len(scene.calls) == 1

    run(main)


def test_a_group_that_became_a_supergroup() -> None:
    async def main() -> None:
        scene = Scene(refusal(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-1001))
        entry = scene.ledger.owe(-100)
        await scene.settle()
        assert [method.chat_id for method in scene.calls if isinstance(method, SendMessage)] == [-100, -1001]
        delivered(scene, entry)

    run(main)


def test_a_preview_that_the_ledger_did_not_know_of_yet() -> None:
    async def main() -> None:
        async def before_final(_: str) -> int | None:
            return 77

        scene = Scene(before_final=before_final)
        entry = scene.ledger.owe(-100, "Hello.", target=TARGET_GROUP)
        await scene.settle()
        (edit,) = scene.calls
        assert isinstance(edit, EditMessageText)
        assert (edit.message_id, entry.parts) == (77, [77])
        # whoever comes after a killed bot edits it too
        assert entry.preview_message_id == 77

    run(main)


def test_previews_end_before_the_first_part_and_whatever_they_do() -> None:
    async def main() -> None:
        seen: list[tuple[str, int]] = []

        async def before_final(task_id: str) -> int | None:
            seen.append((task_id, len(scene.calls)))
            if len(seen) == 1:
                await asyncio.sleep(1000)
            raise ValueError("previews are broken")

        scene = Scene(before_final=before_final)
        entries = [scene.ledger.owe(7), scene.ledger.owe(7)]
        await scene.settle(30)
        assert seen == [("t0", 0), ("t1", 1)]
        assert [entry.state for entry in entries] == ["delivered"] * 2

    run(main)


def test_a_broadcast_has_no_task() -> None:
    async def main() -> None:
        scene = Scene(before_final=cast(Any, None))
        entries = [scene.ledger.broadcast(chat, "News for **all**.") for chat in range(1, 101)]
        await scene.settle(30)
        assert scene.texts == ["News for all."] * 100
        assert all(entry.state == "delivered" for entry in entries)
        times = scene.times
        assert max(sum(at <= other < at + 1 - 1e-6 for other in times) for at in times) <= 25

    run(main)


@pytest.mark.parametrize("trouble", ["before", "after"])
def test_not_sent_unless_the_ledger_knows(trouble: str) -> None:
    async def main() -> None:
        scene = Scene()
        scene.trouble["in_flight"] = trouble
        scene.ledger.owe(7, "Hello.")
        deliverer = scene.deliverer()
        await asyncio.sleep(10)
        assert scene.calls == []
        await scene.ledger.settled(100)
        await deliverer.stop(3)
        # the ledger cannot know either whether it was sent after a report whose answer was lost
        assert scene.texts == [(MARK if trouble == "after" else "") + "Hello."]

    run(main)


@pytest.mark.parametrize("trouble", ["before", "after"])
def test_what_has_arrived_is_not_sent_again_by_the_same_bot(trouble: str) -> None:
    async def main() -> None:
        scene = Scene()
        scene.trouble["part_done"] = trouble
        entry = scene.ledger.owe(7, LONG)
        await scene.settle()
        assert "".join(scene.texts).replace("\n", "") == LONG.replace("\n", "")
        assert len(entry.parts) == len(scene.texts)
        assert not any(text.startswith(MARK) for text in scene.texts)

    run(main)


def test_a_delivery_that_comes_again_waits_for_its_first_sender() -> None:
    """The gateway was so slow that the lease ran out while the part was on its way."""

    async def main() -> None:
        scene = Scene()
        assert isinstance(scene.bot.session, ScriptedSession)
        scene.bot.session.latency = 18
        entry = scene.ledger.owe(7, "Hello.")
        deliverer = scene.deliverer()
        await asyncio.sleep(5)
        entry.lease_until = 0  # as if the renewal had come 25 seconds earlier
        await asyncio.sleep(100)
        await deliverer.stop(3)
        assert scene.texts == ["Hello."]
        assert entry.state == "delivered"

    run(main)


def test_what_the_gateway_does_not_take_blocks_nobody() -> None:
    async def main() -> None:
        from ai_assistant.bot.gateway_client import GatewayRefusalError

        scene = Scene()
        call = scene.ledger.call

        async def refusing(method: str, path: str, *, json: dict[str, Any]) -> dict[str, Any]:
            if json.get("event") == "planned" and "d0" in path:
                raise GatewayRefusalError("plan: too many parts", "invalid_request")
            return await call(method, path, json=json)

        scene.ledger.call = refusing  # type: ignore[method-assign]
        entries = [scene.ledger.owe(7), scene.ledger.owe(7)]
        await scene.settle(30)
        assert [entry.state for entry in entries] == ["dead", "delivered"]

    run(main)


def test_stopping_lets_arrive_what_is_on_its_way_and_gives_the_rest_back() -> None:
    async def main() -> None:
        scene = Scene()
        assert isinstance(scene.bot.session, ScriptedSession)
        scene.bot.session.latency = 2
        entry = scene.ledger.owe(7, LONG)
        deliverer = scene.deliverer()
        await asyncio.sleep(1)
        await deliverer.stop(3)
        assert len(scene.calls) == 1
        assert entry.parts == [1001]
        assert scene.ledger.of(entry)[-1] == ("released",)
        await scene.settle()
        assert "".join(scene.texts).replace("\n", "") == LONG.replace("\n", "")

    run(main)


def test_what_does_not_arrive_in_time_when_stopping_is_marked_later_and_soon() -> None:
    async def main() -> None:
        scene = Scene()
        assert isinstance(scene.bot.session, ScriptedSession)
        scene.bot.session.latency = 15
        scene.ledger.owe(7, "Hello.")
        deliverer = scene.deliverer()
        await asyncio.sleep(8)
        await deliverer.stop(3)
        scene.bot.session.latency = 0.1
        await scene.settle(10)  # well before the lease would have ended
        assert scene.texts == ["Hello.", MARK + "Hello."]

    run(main)
