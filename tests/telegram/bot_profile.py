"""What the bot says about itself and asks about chats: commands, descriptions, chats and their members."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from telegram.calls import Call, bad_request
from telegram.chats import JsonObject
from telegram.entity_rules import units

if TYPE_CHECKING:
    from telegram.api import BotApi

SCOPES = {
    "default": (), "all_private_chats": (), "all_group_chats": (), "all_chat_administrators": (),
    "chat": ("chat_id",), "chat_administrators": ("chat_id",), "chat_member": ("chat_id", "user_id"),
}  # fmt: skip
MOST_COMMANDS = 100
TEXTS = {"Name": ("name", 64), "Description": ("description", 512), "ShortDescription": ("short_description", 120)}
RIGHTS = (
    "can_be_edited", "is_anonymous", "can_manage_chat", "can_delete_messages", "can_manage_video_chats", "can_restrict_members",
    "can_promote_members", "can_change_info", "can_invite_users", "can_post_stories", "can_edit_stories", "can_delete_stories",
    "can_send_welcome_messages",
)  # fmt: skip


class Profile:
    """The bot's command menus and texts by language."""

    def __init__(self) -> None:
        self.commands: dict[tuple[tuple[Any, ...], str], list[JsonObject]] = {}
        self.texts: dict[tuple[str, str], str] = {}

    def menu(self, user: int, language: str, chat_id: int | None = None, *, admin: bool = False) -> list[JsonObject]:
        """The commands that a person sees in a chat, by default their own."""
        chat_id = user if chat_id is None else chat_id
        scopes: list[tuple[Any, ...]] = [("chat", chat_id)]
        if chat_id < 0:
            scopes.insert(0, ("chat_member", chat_id, user))
            if admin:
                scopes[1:1] = [("chat_administrators", chat_id)]
                scopes.append(("all_chat_administrators",))
        scopes += [("all_group_chats" if chat_id < 0 else "all_private_chats",), ("default",)]
        for scope in scopes:
            for code in (language, ""):
                if (scope, code) in self.commands:
                    return self.commands[scope, code]
        return []


def scope_of(call: Call) -> tuple[Any, ...]:
    scope: JsonObject = call.json("scope", dict, {"type": "default"})
    if scope.get("type") not in SCOPES:
        raise bad_request("can't parse BotCommandScope: Unsupported type specified")
    try:
        return (scope["type"], *(int(scope[name]) for name in SCOPES[scope["type"]]))
    except (KeyError, ValueError) as error:
        raise bad_request("can't parse BotCommandScope: chat_id and user_id must be numbers") from error


def language_of(call: Call) -> str:
    language = call.text("language_code")
    if language and not re.fullmatch("[a-z]{2}", language):
        raise bad_request("invalid language code specified")
    return language


def checked(command: Any) -> JsonObject:
    if not isinstance(command, dict) or not re.fullmatch("[a-z0-9_]{1,32}", str(command.get("command", ""))):
        raise bad_request("BOT_COMMAND_INVALID")
    if not 1 <= units(str(command.get("description", ""))) <= 256:
        raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
    return command


def set_my_commands(api: BotApi, call: Call) -> bool:
    commands = [checked(command) for command in call.json("commands", list, [])]
    if len(commands) > MOST_COMMANDS:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    api.profile.commands[scope_of(call), language_of(call)] = commands
    return True


def get_my_commands(api: BotApi, call: Call) -> list[JsonObject]:
    return api.profile.commands.get((scope_of(call), language_of(call)), [])


def delete_my_commands(api: BotApi, call: Call) -> bool:
    api.profile.commands.pop((scope_of(call), language_of(call)), None)
    return True


def set_text(api: BotApi, call: Call) -> bool:
    """setMyName, setMyDescription, setMyShortDescription."""
    name, most = TEXTS[call.method.removeprefix("setMy")]
    text = call.text(name)
    if units(text) > most:
        raise bad_request(f"{name} is too long")
    api.profile.texts[name, language_of(call)] = text
    return True


def get_text(api: BotApi, call: Call) -> JsonObject:
    name, _ = TEXTS[call.method.removeprefix("getMy")]
    return {name: api.profile.texts.get((name, language_of(call)), "")}


def get_me(api: BotApi, _: Call) -> JsonObject:
    return api.account


def get_chat(api: BotApi, call: Call) -> JsonObject:
    chat = api.chats.get(call.chat_id)
    gifts = ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels")
    return {
        **chat.description, "accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": dict.fromkeys(gifts, True)
    }  # fmt: skip


def membership(status: str, user: JsonObject) -> JsonObject:
    """A ChatMember of the Bot API."""
    member: JsonObject = {"status": status, "user": user}
    if status == "kicked":
        return member | {"until_date": 0}
    if status == "creator":
        return member | {"is_anonymous": False}
    if status == "administrator":
        return member | dict.fromkeys(RIGHTS, False) | {"can_manage_chat": True, "can_delete_messages": True}
    return member


def get_chat_member(api: BotApi, call: Call) -> JsonObject:
    chat = api.chats.writable(call.chat_id)
    user_id = call.number("user_id")
    if user_id == api.me["id"]:
        return membership(chat.bot_status, api.me)
    if user_id in chat.members:
        return chat.members[user_id]
    raise bad_request("user not found")


def get_chat_administrators(api: BotApi, call: Call) -> list[JsonObject]:
    chat = api.chats.writable(call.chat_id)
    return [member for member in chat.members.values() if member["status"] in ("creator", "administrator")]


def leave_chat(api: BotApi, call: Call) -> bool:
    chat = api.chats.writable(call.chat_id)
    if chat.is_private:
        raise bad_request("chat member status can't be changed in private chats")
    api.change_membership(chat, "left", api.me)
    return True
