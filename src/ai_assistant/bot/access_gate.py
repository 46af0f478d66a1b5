"""The door: a middleware that lets updates in or turns them away, before anything is asked of the gateway about them."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiogram import BaseMiddleware, Bot
from aiogram.exceptions import TelegramAPIError
from aiogram.types import Chat, ChatMemberUpdated, Message, TelegramObject, Update, User

from ai_assistant.bot.access import Access, Asker, Standing
from ai_assistant.bot.access_list import Listed
from ai_assistant.bot.command_menu import CommandMenu
from ai_assistant.bot.command_names import argument, command_name
from ai_assistant.bot.pairing import Occasions
from ai_assistant.bot.profiles import code_of, is_kept, is_private
from ai_assistant.bot.texts import language_from, say
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

HARMLESS = frozenset({"start", "help"})
"""Commands that tell nothing and ask nobody."""
AWAY_SECONDS = 60.0
"""Between two sentences about a gateway that is away."""
WAIT_SECONDS = 0.5

Concerns = Callable[[Message, User], bool]
"""Whether a group's message may be meant for the bot, which is the second argument."""


class AccessGate(BaseMiddleware):
    """Puts `is_admin` beside what it lets in. A group's messages that are not meant for the bot end here too."""

    def __init__(self, access: Access, menu: CommandMenu, concerns: Concerns, clock: Callable[[], float]) -> None:
        self._access = access
        self._menu = menu
        self._is_announced = False
        self._concerns = concerns
        self._told = Occasions(clock)
        self._told_away = Occasions(clock, AWAY_SECONDS)

    async def __call__(
        self, handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]], event: TelegramObject, data: dict[str, Any]
    ) -> Any:
        if not isinstance(event, Update):
            raise TypeError("AccessGate belongs to updates.")
        bot: Bot = data["bot"]
        chat, user = data.get("event_chat"), data.get("event_from_user")
        message = event.message or event.edited_message
        if message is not None and not is_private(message):
            if message.migrate_to_chat_id is not None:
                await self._follow(message, message.migrate_to_chat_id)
            elif not self._concerns(message, await bot.me()):
                data["outcome"] = "not_for_the_bot"
                return None
        standing = await self._access.standing(user, chat, is_patient=message is not None)
        if standing is Standing.UNKNOWN and message is not None and is_kept(message):
            standing = await self._wait(message, user, chat)
        is_harmless = message is not None and command_name(message) in HARMLESS
        if standing in (Standing.ADMIN, Standing.ALLOWED) or (standing is Standing.UNKNOWN and is_harmless):
            data["is_admin"] = standing is Standing.ADMIN
            if standing is Standing.ADMIN and event.my_chat_member is not None:
                await self._welcome(event.my_chat_member)
            if standing is Standing.ADMIN and message is not None and is_private(message):
                await self._menu.publish_for(message.chat.id)
            return await handler(event, data)
        data["outcome"] = standing.value
        with contextlib.suppress(TelegramAPIError):  # a stranger who has blocked the bot is no error
            await self._turn_away(event, standing, bot)
        return None

    async def _wait(self, message: Message, user: User | None, chat: Chat | None) -> Standing:
        """A message is not lost because the gateway is away while the bot starts."""
        if is_private(message) and self._told_away.is_first(message.chat.id):
            with contextlib.suppress(TelegramAPIError):
                await message.answer(say("message_waits", code_of(user)))
        standing = Standing.UNKNOWN
        while standing is Standing.UNKNOWN and not self._access.listed.is_refused:
            await asyncio.sleep(WAIT_SECONDS)
            standing = await self._access.standing(user, chat, is_patient=True)
        return standing

    async def announce(self, bot: Bot) -> None:
        """Say in the log, once, how the bot gets its owner."""
        code = self._access.owner_code
        if code is None or self._is_announced:
            return
        self._is_announced = True
        username = (await bot.me()).username
        sentence = "Nobody may use the bot yet: open https://t.me/%s?start=%s (or send it /start %s), and it is yours"
        logger.warning(sentence, username, code, code)

    async def _follow(self, message: Message, new_id: int) -> None:
        """A group that has become a supergroup is let in under its new id."""
        if await self._access.standing(None, message.chat) is Standing.ALLOWED:
            await self._put(f"chat:{new_id}", Listed.ALLOWED)

    async def _welcome(self, change: ChatMemberUpdated) -> None:
        """A group is let in when an admin adds the bot."""
        if change.chat.type != "private" and change.new_chat_member.status in ("member", "administrator"):
            await self._put(f"chat:{change.chat.id}", Listed.ALLOWED)

    async def _put(self, subject: str, listed: Listed) -> None:
        try:
            await self._access.listed.put(subject, listed)
        except AssistantError as error:
            logger.warning("A group could not be let in (%s); an admin can send /allow there", error.message)

    async def _turn_away(self, event: Update, standing: Standing, bot: Bot) -> None:
        if event.callback_query is not None:
            await event.callback_query.answer()
        elif event.message is not None:
            await self._answer(event.message, standing, bot)
        elif event.my_chat_member is not None and event.my_chat_member.new_chat_member.status in ("member", "administrator"):
            await self._leave(event.my_chat_member, standing, bot)

    async def _answer(self, message: Message, standing: Standing, bot: Bot) -> None:
        """One sentence, not more than once an hour, and to groups none but the last."""
        user = message.from_user
        language = user.language_code if user else None
        if standing is Standing.UNKNOWN:
            if is_private(message) and self._told_away.is_first(message.chat.id):
                await message.answer(say("unavailable", language))
        elif not is_private(message):
            if standing is Standing.STRANGER and self._told.is_first(message.chat.id):
                await message.answer(say("group_stranger", language, id=message.chat.id))
        elif user is not None:
            if standing is Standing.STRANGER and command_name(message) == "start" and argument(message):
                await self._redeem(message, user)
            elif self._told.is_first(user.id):
                await self.announce(bot)
                await message.answer(self._sentence(user, standing))

    async def _redeem(self, message: Message, user: User) -> None:
        try:
            standing = await self._access.redeem(user.id, argument(message))
        except AssistantError:
            await message.answer(say("unavailable", user.language_code))
            return
        if standing is Standing.UNKNOWN:
            return
        self._told.note(user.id)
        key = {Standing.ADMIN: "owner_welcome", Standing.ALLOWED: "welcome"}.get(standing)
        await message.answer(say(key, user.language_code) if key else say("wrong_code", user.language_code))
        if standing is Standing.ADMIN:
            await self._menu.publish_for(user.id)
            logger.warning("The bot has an owner now: somebody sent the code from this log")

    def _sentence(self, user: User, standing: Standing) -> str:
        language = user.language_code
        if standing is Standing.DENIED:
            return say("denied", language)
        if self._access.owner_code is not None:
            return say("stranger_no_owner", language, id=user.id)
        if self._access.mode == "pairing":
            code = self._access.code_for(Asker(user.id, language_from(language)))
            return say("stranger_pairing", language, id=user.id, code=code)
        return say("stranger", language, id=user.id)

    async def _leave(self, change: ChatMemberUpdated, standing: Standing, bot: Bot) -> None:
        """Somebody has added the bot to a group who may not."""
        if change.chat.type == "private" or standing is Standing.UNKNOWN:
            return
        if change.chat.type != "channel":
            with contextlib.suppress(TelegramAPIError):  # where it may not write
                await bot.send_message(change.chat.id, say("group_stranger", change.from_user.language_code, id=change.chat.id))
        await bot.leave_chat(change.chat.id)

    def forget(self, person: int) -> None:
        self._told.forget(person)
        self._told_away.forget(person)
