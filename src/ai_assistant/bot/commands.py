"""Everything about commands, access and people put together, for the composition of the bot."""

import time
from collections.abc import Callable

from aiogram import Bot, Dispatcher, Router

from ai_assistant.bot import administration, broadcast, general, my_data, preferences
from ai_assistant.bot.access import Access
from ai_assistant.bot.access_gate import AccessGate, Concerns
from ai_assistant.bot.access_list import AccessList
from ai_assistant.bot.command_menu import CommandMenu
from ai_assistant.bot.exports import Exports
from ai_assistant.bot.fingerprints import Fingerprints
from ai_assistant.bot.gateway_client import GatewayClient
from ai_assistant.bot.profiles import ProfileMiddleware, Profiles
from ai_assistant.bot.throttle import Throttle, ThrottleMiddleware
from ai_assistant.bot.update_log import UpdateLog
from ai_assistant.bot.user_client import UserClient
from ai_assistant.settings import BotSettings


class Commands:
    """One per bot. `concerns` tells whether a group's message may be meant for the bot."""

    def __init__(
        self,
        bot: Bot,
        settings: BotSettings,
        gateway: GatewayClient,
        concerns: Concerns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bot = bot
        self.users = UserClient(gateway)
        self.profiles = Profiles(self.users, clock)
        self.exports = Exports(bot, self.users)
        self.menu = CommandMenu(bot)
        fingerprints = Fingerprints(bot.token)
        self.access = Access(settings, AccessList(self.users, bot.id, fingerprints, clock), fingerprints, clock)
        rate = settings.telegram_messages_per_minute
        people = Throttle(rate, settings.telegram_message_burst, clock)
        # a group may be as busy as a few people
        groups = Throttle(3 * rate, 3 * settings.telegram_message_burst, clock)
        self._gate = AccessGate(self.access, self.menu, concerns, clock)
        self._throttle = ThrottleMiddleware(people, groups, self.profiles)
        self.memories = my_data.Memories(self.profiles, self.exports, self.access, self._gate, people)
        self._settings = settings

    def install(self, dispatcher: Dispatcher) -> None:
        """Middlewares, routers and what their handlers ask for by name. Before all other routers; `general.leftovers` comes
        after them."""
        for middleware in (UpdateLog(), self._gate, self._throttle, ProfileMiddleware(self.profiles)):
            dispatcher.update.outer_middleware(middleware)
        for router in routers():
            dispatcher.include_router(router)
        dispatcher.workflow_data.update(
            access=self.access,
            profiles=self.profiles,
            users=self.users,
            exports=self.exports,
            memories=self.memories,
            bot_settings=self._settings,
        )

    async def start(self) -> None:
        """Set the menu, and say in the log how the bot gets its owner."""
        await self.access.listed.refresh()
        await self._gate.announce(self._bot)
        await self.menu.publish()
        for admin in self._settings.telegram_admins:
            await self.menu.publish_for(admin)

    async def stop(self) -> None:
        await self.exports.stop()


def routers() -> list[Router]:
    """In the order in which they are asked."""
    return [general.router, preferences.router, my_data.router, administration.router, broadcast.router]
