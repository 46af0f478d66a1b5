"""The bot's commands and texts by language."""

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import BotCommand, BotCommandScopeAllPrivateChats, BotCommandScopeChat
from telegram import BotApi


def commands(*names: str) -> list[BotCommand]:
    return [BotCommand(command=name, description=f"About {name}") for name in names]


async def test_menus(api: BotApi, bot: Bot) -> None:
    assert await bot.get_my_commands() == []
    await bot.set_my_commands(commands("start", "help"))
    await bot.set_my_commands(commands("start"), language_code="ru")
    await bot.set_my_commands(commands("new"), scope=BotCommandScopeAllPrivateChats())
    await bot.set_my_commands(commands("allow"), scope=BotCommandScopeChat(chat_id=7))
    assert [command.command for command in await bot.get_my_commands()] == ["start", "help"]
    assert [command.command for command in await bot.get_my_commands(language_code="ru")] == ["start"]
    assert await bot.get_my_commands(language_code="de") == []

    def seen(*place: int, language: str = "en") -> list[str]:
        return [command["command"] for command in api.profile.menu(place[0], language, *place[1:])]

    assert seen(7) == ["allow"]
    assert seen(8, language="ru") == ["new"]
    assert seen(8, -100, language="ru") == ["start"]
    assert seen(8, -100) == ["start", "help"]
    await bot.delete_my_commands(scope=BotCommandScopeChat(chat_id=7))
    assert seen(7) == ["new"]


async def test_menus_that_are_refused(bot: Bot) -> None:
    for menu, expected in [
        (commands("Start"), "BOT_COMMAND_INVALID"),
        (commands("x" * 33), "BOT_COMMAND_INVALID"),
        ([BotCommand(command="start", description="x" * 257)], "BOT_COMMAND_DESCRIPTION_INVALID"),
        ([BotCommand(command="start", description="")], "BOT_COMMAND_DESCRIPTION_INVALID"),
        (commands(*(f"c{number}" for number in range(101))), "BOT_COMMANDS_TOO_MUCH"),
    ]:
        with pytest.raises(TelegramBadRequest, match=expected):
            await bot.set_my_commands(menu)
    with pytest.raises(TelegramBadRequest, match="invalid language code"):
        await bot.set_my_commands(commands("start"), language_code="ru-RU")


async def test_texts(bot: Bot) -> None:
    await bot.set_my_description("Помощник", language_code="ru")
    assert (await bot.get_my_description(language_code="ru")).description == "Помощник"
    assert (await bot.get_my_description()).description == ""
    await bot.set_my_short_description("Short")
    assert (await bot.get_my_short_description()).short_description == "Short"
    for call in (bot.set_my_description("x" * 513), bot.set_my_short_description("x" * 121), bot.set_my_name("x" * 65)):
        with pytest.raises(TelegramBadRequest, match="is too long"):
            await call
