"""Who writes, and in whose name: what handlers know of a person and of the chat, read from the gateway once per update.

In a private chat both are the same user of the gateway (`tg:42`). A group has a user of its own (`tg-chat:-100123`), which
owns the group's conversations and settings.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiogram import BaseMiddleware
from aiogram.exceptions import TelegramAPIError
from aiogram.types import Chat, Message, TelegramObject, Update, User

from ai_assistant.bot.command_names import command_name
from ai_assistant.bot.gateway_client import GatewayRefusalError
from ai_assistant.bot.texts import LANGUAGES, language_from, say
from ai_assistant.bot.user_client import UserClient
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
READ_SECONDS = 3.0
"""For commands and buttons; messages for the assistant wait for as long as it takes."""
MAX_CACHED = 10_000

WITHOUT_SETTINGS = frozenset({"start", "help", "stop", "privacy"})
"""Commands that are answered when the gateway is away."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Handlers get one as `profile`."""

    person: str
    """The gateway's user for whoever wrote."""
    owner: str
    """The gateway's user that owns the chat's conversations and settings."""
    language: str
    """One of `texts.LANGUAGES`: what the owner chose, else what Telegram says of the person."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The owner's, as they were when the update came."""
    is_admin: bool = False


class Profiles:
    """The settings of people and chats. What has just been read serves presses of buttons for a few seconds; a message is
    always read for anew, since it goes on with the conversation that is noted in the settings."""

    def __init__(self, users: UserClient, clock: Callable[[], float]) -> None:
        self._users = users
        self._clock = clock
        self._cache: OrderedDict[str, tuple[float, dict[str, Any]]] = OrderedDict()

    async def settings(self, owner: str, *, is_fresh: bool = False) -> dict[str, Any]:
        """Raises AssistantError."""
        until, settings = self._cache.get(owner, (0.0, {}))
        if is_fresh or until <= self._clock():
            settings = await self._users.settings(owner)
            self._keep(owner, settings)
        return settings

    async def remember(self, owner: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Merge into the owner's settings; None removes a key. Returns all of them. Raises AssistantError."""
        merged = await self._users.remember(owner, settings)
        self._keep(owner, merged)
        return merged

    def language(self, owner: str, code: str | None) -> str:
        """As far as it is known without asking the gateway."""
        return chosen_language(self._cache.get(owner, (0.0, {}))[1], code)

    def forget(self, name: str) -> None:
        self._cache.pop(name, None)

    def _keep(self, owner: str, settings: dict[str, Any]) -> None:
        self._cache[owner] = (self._clock() + FRESH_SECONDS, settings)
        self._cache.move_to_end(owner)
        while len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)


class ProfileMiddleware(BaseMiddleware):
    """Puts `profile` beside every update. A message for the assistant waits until the gateway is back, and the person hears so:
    without the settings it would begin a new conversation."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    async def __call__(
        self, handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]], event: TelegramObject, data: dict[str, Any]
    ) -> Any:
        if not isinstance(event, Update):
            raise TypeError("ProfileMiddleware belongs to updates.")
        chat, user = data.get("event_chat"), data.get("event_from_user")
        owner = owner_of(chat, user)
        message = event.message or event.edited_message
        needs_settings = message is not None and command_name(message) not in WITHOUT_SETTINGS
        try:
            if message is not None and is_kept(message):
                settings = await self._insist(owner, message, user)
            else:
                async with asyncio.timeout(READ_SECONDS):
                    settings = await self._profiles.settings(owner, is_fresh=message is not None)
        except (AssistantError, TimeoutError) as error:
            logger.warning("The gateway does not say what somebody has chosen (%s)", error or type(error).__name__)
            if needs_settings and message is not None:
                data["outcome"] = "gateway_away"
                await message.answer(say("unavailable", self._profiles.language(owner, code_of(user))))
                return None
            settings = {}
        language = chosen_language(settings, code_of(user)) if settings else self._profiles.language(owner, code_of(user))
        data["profile"] = Profile(
            person=person_of(chat, user),
            owner=owner,
            language=language,
            settings=settings,
            is_admin=bool(data.get("is_admin")),
        )
        return await handler(event, data)

    async def _insist(self, owner: str, message: Message, user: User | None) -> dict[str, Any]:
        """However long it takes: a message is never lost. Raises GatewayRefusalError."""
        is_told = False
        while True:
            try:
                return await self._profiles.settings(owner, is_fresh=True)
            except GatewayRefusalError:
                raise
            except AssistantError as error:
                logger.warning("A message waits for the gateway (%s)", error.message)
            if not is_told:
                is_told = True
                with contextlib.suppress(TelegramAPIError):
                    await message.answer(say("message_waits", self._profiles.language(owner, code_of(user))))


def is_kept(message: Message) -> bool:
    """Whether it is for the assistant, or about the conversation: what is handed over sooner or later."""
    return command_name(message) in (None, "new", "retry")


def person_of(chat: Chat | None, user: User | None) -> str:
    """Telegram leaves the person away where somebody presses Stop; the private chat's id is theirs."""
    return f"tg:{user.id if user else chat.id if chat else 0}"


def owner_of(chat: Chat | None, user: User | None) -> str:
    if chat is None or chat.type == "private":
        return person_of(chat, user)
    return f"tg-chat:{chat.id}"


def code_of(user: User | None) -> str | None:
    return user.language_code if user else None


def chosen_language(settings: dict[str, Any], code: str | None) -> str:
    """What was chosen in /settings, else what suits a language code of Telegram's."""
    chosen = settings.get("language")
    return chosen if chosen in LANGUAGES else language_from(code)


def is_private(message: Message) -> bool:
    return message.chat.type == "private"
