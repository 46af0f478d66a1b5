"""The menu of commands that Telegram shows: in every language, for private chats, groups and admins. Telegram keeps it, so it
is set only where it differs."""

import logging

from aiogram import Bot
from aiogram.exceptions import TelegramAPIError
from aiogram.types import (
    BotCommand,
    BotCommandScopeAllGroupChats,
    BotCommandScopeAllPrivateChats,
    BotCommandScopeChat,
    BotCommandScopeUnion,
)

from ai_assistant.bot.command_names import ADMIN, GROUP, PRIVATE
from ai_assistant.bot.texts import LANGUAGES, say

logger = logging.getLogger(__name__)


def menu(names: tuple[str, ...], language: str) -> list[BotCommand]:
    return [BotCommand(command=name, description=say(f"menu_{name}", language)) for name in names]


class CommandMenu:
    """One per bot."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._admins: set[int] = set()

    async def publish(self) -> None:
        """For everybody. Best effort: commands work without a menu."""
        await self._publish(BotCommandScopeAllPrivateChats(), PRIVATE)
        await self._publish(BotCommandScopeAllGroupChats(), GROUP)

    async def publish_for(self, admin: int) -> None:
        """In the private chat of an admin; asks Telegram once per admin."""
        if admin not in self._admins:
            self._admins.add(admin)
            await self._publish(BotCommandScopeChat(chat_id=admin), (*PRIVATE, *ADMIN))

    async def _publish(self, scope: BotCommandScopeUnion, names: tuple[str, ...]) -> None:
        try:
            for language in LANGUAGES:
                code = None if language == "en" else language  # English for all who read neither
                wanted = menu(names, language)
                known = await self._bot.get_my_commands(scope=scope, language_code=code)
                if [item.model_dump() for item in known] != [item.model_dump() for item in wanted]:
                    await self._bot.set_my_commands(wanted, scope=scope, language_code=code)
        except TelegramAPIError as error:
            logger.info("The menu of commands could not be set (%s)", type(error).__name__)
