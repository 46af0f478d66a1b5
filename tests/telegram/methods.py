"""Which methods there are, and who carries them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from telegram import bot_profile, drafts, messages, webhook
from telegram.calls import Call

if TYPE_CHECKING:
    from telegram.api import BotApi

Method = Callable[["BotApi", Call], Any]


def yes(_: BotApi, __: Call) -> bool:
    return True


METHODS: dict[str, Method] = {
    "getMe": bot_profile.get_me,
    "logOut": yes,
    "close": yes,
    "sendMessage": messages.send_message,
    "sendDocument": messages.send_document,
    "sendChatAction": messages.send_chat_action,
    "editMessageText": messages.edit_message_text,
    "editMessageReplyMarkup": messages.edit_message_reply_markup,
    "deleteMessage": messages.delete_message,
    "answerCallbackQuery": messages.answer_callback_query,
    "sendMessageDraft": drafts.send_message_draft,
    "setWebhook": webhook.set_webhook,
    "deleteWebhook": webhook.delete_webhook,
    "getWebhookInfo": webhook.get_webhook_info,
    "setMyCommands": bot_profile.set_my_commands,
    "getMyCommands": bot_profile.get_my_commands,
    "deleteMyCommands": bot_profile.delete_my_commands,
    "setMyName": bot_profile.set_text,
    "setMyDescription": bot_profile.set_text,
    "setMyShortDescription": bot_profile.set_text,
    "getMyName": bot_profile.get_text,
    "getMyDescription": bot_profile.get_text,
    "getMyShortDescription": bot_profile.get_text,
    "setMyDefaultAdministratorRights": yes,
    "setChatMenuButton": yes,
    "getChat": bot_profile.get_chat,
    "getChatMember": bot_profile.get_chat_member,
    "getChatAdministrators": bot_profile.get_chat_administrators,
    "leaveChat": bot_profile.leave_chat,
}
"""All but getUpdates, which waits."""

NAMES = {name.lower(): name for name in (*METHODS, "getUpdates")}
"""Telegram does not care about capital letters."""
