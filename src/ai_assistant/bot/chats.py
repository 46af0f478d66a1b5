"""Chats: turns of conversations are handed over to the gateway, whose ledger makes sure of the answers (see deliverer).

Nothing is kept here that a killed bot could lose: the update of a turn is confirmed after the gateway's 202, and handing it over
again finds the same task by its key.
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ai_assistant.bot.bursts import Bursts
from ai_assistant.bot.chat_client import ChatClient
from ai_assistant.bot.conversations import Conversation, Place
from ai_assistant.bot.gateway_client import GatewayClient, GatewayRefusalError
from ai_assistant.bot.mentions import Question
from ai_assistant.bot.patience import TELL_SECONDS, insist, until_answered
from ai_assistant.bot.profiles import Profile
from ai_assistant.bot.refusals import explain
from ai_assistant.bot.texts import say

logger = logging.getLogger(__name__)

MAX_REMEMBERED = 10_000
"""Conversations whose last writer is known."""

GONE = ("conversation_not_found", "not_found")
"""Codes of a conversation or message that was deleted."""

UNSENT = ("waiting", "pending")

T = TypeVar("T")
Say = Callable[[str], Awaitable[object]]
"""Tells a sentence to whoever wrote."""


class HandedOverError(Exception):
    """The gateway has accepted this update before, and what is noted of its conversation has changed since."""


class Follower(Protocol):
    """Shows answers while they are written."""

    def follow(self, task_id: str, target: dict[str, Any], *, assistant: str | None = None) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message of somebody's."""

    place: Place
    profile: Profile
    question: Question
    message_id: int
    last_message_id: int
    """Of the last part, where Telegram's app has cut the message."""
    key: str
    """The same whenever Telegram brings the update again."""
    say: Say
    delays: list[str] = field(default_factory=list)
    """What was told of a gateway that is away: once is enough."""

    @property
    def target(self) -> dict[str, Any]:
        """Where the answer goes."""
        target = {"chat_id": self.place.chat_id, "language": self.profile.language, "message_id": self.message_id}
        if self.place.thread_id is not None:
            target["thread_id"] = self.place.thread_id
        if self.place.is_group:
            target |= {"is_group": True, "reply_to": self.message_id}
        if self.last_message_id != self.message_id:
            target["last_message_id"] = self.last_message_id
        return target

    @property
    def voice(self) -> dict[str, Any]:
        """In whose name, and with which persona."""
        fields = {"user_id": self.profile.owner}
        if self.profile.person != self.profile.owner:
            fields["author"] = self.profile.person
        if persona := self.profile.settings.get("persona"):
            fields["instructions"] = persona
        return fields


class Chats:
    """One per bot. Its methods return when the gateway has what it needs, however long that takes."""

    def __init__(self, gateway: GatewayClient, live: Follower | None = None, *, tell_seconds: float = TELL_SECONDS) -> None:
        self.bursts = Bursts()
        self._client = ChatClient(gateway)
        self._live = live
        self._tell_seconds = tell_seconds
        self._last_writers: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def ask(self, turn: Turn) -> int:
        """A new message. Returns the id of the last message that is dealt with: an earlier attempt may have had fewer parts."""
        conversation = Conversation.read(turn.profile.settings, turn.place)
        is_shared = self._is_shared(turn, conversation)
        body = {"message": turn.question.written(with_name=is_shared)}
        assistant = turn.profile.settings.get("assistant")
        if assistant is not None:
            body["assistant"] = assistant
        bodies = [body]
        if conversation is not None:
            # deleted elsewhere: a new one begins
            bodies.insert(0, {**body, "conversation_id": conversation.id})
        try:
            accepted = await self._hand_over(turn, *bodies)
        except HandedOverError:
            return await self._handed_over(turn)
        if accepted is None:
            return turn.last_message_id
        noted = Conversation(accepted["conversation_id"], assistant, is_shared)
        if noted != conversation:
            await self._insist(turn, lambda: self._client.remember(turn.profile.owner, {turn.place.setting: noted.to_json()}))
        return turn.last_message_id

    async def ask_again(self, turn: Turn) -> None:
        """A message was edited: its old answer is withdrawn where it is not delivered yet, and the new text is asked instead."""
        asked = await self._insist(turn, lambda: self._client.asked(turn.place.chat_id, turn.message_id))
        if not asked:
            await self.ask(turn)  # was refused, or did not speak to the bot
            return
        if any(item["target"].get("last_message_id") for item in asked):
            await turn.say(say("edit_of_long", turn.profile.language))
            return
        if asked[-1]["text"] in (turn.question.written(with_name=False), turn.question.written(with_name=True)):
            return  # Telegram has added a link's preview, say
        conversation = Conversation.read(turn.profile.settings, turn.place)
        body = {"message": turn.question.written(with_name=conversation is not None and conversation.is_shared)}
        try:
            accepted = await self._hand_over(turn, {**body, "edit_of": asked[0]["user_message_id"]}, body)
        except HandedOverError:
            await self._withdraw(turn, asked[:-1])
            return
        if accepted is not None:
            await self._withdraw(turn, [item for item in asked if item["task_id"] != accepted["task_id"]])

    async def retry(self, turn: Turn) -> None:
        """Another answer to the conversation's last question."""
        conversation = Conversation.read(turn.profile.settings, turn.place)
        last = None
        if conversation is not None:
            found = conversation.id
            last = await self._insist(turn, lambda: self._client.last(turn.place.chat_id, found))
        if last is None:
            await turn.say(say("nothing_to_retry", turn.profile.language))
            return
        if last["target"].get("message_id") == turn.message_id:
            return  # this update was handed over before
        if await self._hand_over(turn, {"regenerate_of": last["answer_message_id"]}) is not None:
            await self._withdraw(turn, [last])

    async def forget(self, turn: Turn) -> None:
        """A new conversation from now on; what is being written for the old one is not told any more."""
        await self._insist(turn, lambda: self._client.remember(turn.profile.owner, {turn.place.setting: None}))
        self._last_writers.pop((turn.profile.owner, turn.place.setting), None)
        waiting = await self._insist(turn, lambda: self._client.unanswered(turn.place.chat_id))
        # messages that came later belong to the new conversation already: this update may come a second time
        mine = [item for item in waiting if self._is_before(turn, item["target"])]
        await self._withdraw(turn, mine)

    async def move(self, old: int, new: int) -> None:
        """A group has another id from now on. Twice is no error."""
        await until_answered(lambda: self._client.move(old, new))

    async def _hand_over(self, turn: Turn, *bodies: dict[str, Any]) -> dict[str, Any] | None:
        """The gateway's 202 for the first body whose conversation still exists; None if it refuses, which the person is told.

        Raises HandedOverError.
        """
        for index, body in enumerate(bodies):
            try:
                accepted = await self._submit(turn, {**turn.voice, **body})
            except GatewayRefusalError as error:
                if error.reason == "idempotency_mismatch":
                    raise HandedOverError from error
                if error.reason in GONE and index + 1 < len(bodies):
                    continue
                await turn.say(explain(error, turn.profile.language))
                return None
            if self._live is not None:
                self._live.follow(accepted["task_id"], turn.target, assistant=turn.profile.settings.get("assistant"))
            return accepted
        return None

    async def _submit(self, turn: Turn, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._insist(turn, lambda: self._client.ask(body, turn.target, turn.key))
        except GatewayRefusalError as error:
            if error.reason != "persona_forbidden":
                raise
            # chosen before the assistant forbade it, or for another one
            plain = {name: value for name, value in body.items() if name != "instructions"}
            return await self._insist(turn, lambda: self._client.ask(plain, turn.target, turn.key))

    async def _handed_over(self, turn: Turn) -> int:
        """How far a message was handed over before: Telegram's app may have cut it, and its rest may have come too late."""
        if turn.last_message_id == turn.message_id:
            return turn.message_id
        asked = await self._insist(turn, lambda: self._client.asked(turn.place.chat_id, turn.message_id))
        last: int = asked[0]["target"].get("last_message_id", turn.message_id) if asked else turn.last_message_id
        return last

    async def _withdraw(self, turn: Turn, questions: list[dict[str, Any]]) -> None:
        """What is not delivered yet never will be; the last one first, so none begins because another one has ended."""
        for task_id in [item["task_id"] for item in reversed(questions) if item["state"] in UNSENT]:
            try:
                await self._insist(turn, lambda task_id=task_id: self._client.withdraw(task_id))  # type: ignore[misc]
            except GatewayRefusalError as error:
                logger.info("An answer is not withdrawn (%s)", error.message, extra={"task_id": task_id})

    def _is_before(self, turn: Turn, target: dict[str, Any]) -> bool:
        is_here = target.get("thread_id") == turn.place.thread_id
        return is_here and bool(target.get("message_id", 0) < turn.message_id)

    def _is_shared(self, turn: Turn, conversation: Conversation | None) -> bool:
        """Whether several people have written in the conversation. (After a restart it takes one message more to notice.)"""
        if not turn.place.is_group:
            return False
        place, writer = (turn.profile.owner, turn.place.setting), turn.profile.person
        before = self._last_writers.pop(place, writer)
        self._last_writers[place] = writer
        if len(self._last_writers) > MAX_REMEMBERED:
            self._last_writers.popitem(last=False)
        return conversation is not None and (conversation.is_shared or before != writer)

    async def _insist(self, turn: Turn, ask: Callable[[], Awaitable[T]]) -> T:
        async def tell() -> None:
            if not turn.delays:
                turn.delays.append("kept")
                await turn.say(say("kept", turn.profile.language))

        return await insist(ask, tell, tell_seconds=self._tell_seconds)
