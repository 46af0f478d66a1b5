"""What the bot does with messages: send, edit, delete, documents, typing, buttons."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from telegram.calls import Call, bad_request
from telegram.chats import Chat, JsonObject, Message
from telegram.entity_rules import CAPTION_UNITS, TEXT_UNITS, clipped, units, violations

if TYPE_CHECKING:
    from telegram.api import BotApi

BUTTON_DATA_BYTES = 64
BUTTON_KINDS = ("url", "callback_data", "web_app", "login_url", "switch_inline_query", "copy_text", "pay")
ACTIONS = {
    *("typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice"),
    *("upload_document", "choose_sticker", "find_location", "record_video_note", "upload_video_note"),
}
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same "
    "as a current content and reply markup of the message"
)


def formatted(call: Call, name: str, entities_name: str, limit: int, too_long: str) -> tuple[str, list[JsonObject]]:
    """Text and entities as they will be shown. Raises RefusedError where Telegram does."""
    if call.text("parse_mode"):
        raise bad_request("this Telegram knows no parse_mode: send entities")
    text, entities = call.text(name), call.json(entities_name, list, [])
    if broken := violations(text, entities):
        raise bad_request(f"can't parse entities: {broken[0]}")
    text, entities = clipped(text, entities)
    if units(text) > limit:
        raise bad_request(too_long)
    return text, entities


def message_text(call: Call) -> tuple[str, list[JsonObject]]:
    text, entities = formatted(call, "text", "entities", TEXT_UNITS, "message is too long")
    if not text:
        raise bad_request("message text is empty")
    return text, entities


def markup_of(call: Call) -> JsonObject | None:
    """The buttons of a call. Raises RefusedError for one that Telegram does not take."""
    markup: JsonObject | None = call.json("reply_markup", dict)
    if markup is None or not markup.get("inline_keyboard"):
        return markup if markup and "inline_keyboard" not in markup else None
    for button in (button for row in markup["inline_keyboard"] for button in row):
        if not button.get("text"):
            raise bad_request("can't parse inline keyboard button: a button has no text")
        kinds = [kind for kind in BUTTON_KINDS if kind in button]
        if len(kinds) != 1:
            raise bad_request("can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard")
        if kinds == ["callback_data"] and not 1 <= len(str(button["callback_data"]).encode()) <= BUTTON_DATA_BYTES:
            raise bad_request("BUTTON_DATA_INVALID")
    return markup


def answered(call: Call, chat: Chat) -> int | None:
    """The message to reply to. Raises RefusedError where it is gone and must not be."""
    reply: JsonObject = call.json("reply_parameters", dict, {})
    number = reply.get("message_id") or call.optional_number("reply_to_message_id")
    if number is None or int(number) in chat.messages:
        return int(number) if number is not None else None
    if reply.get("allow_sending_without_reply") or call.flag("allow_sending_without_reply"):
        return None
    raise bad_request("message to be replied not found")


def post(api: BotApi, call: Call, chat: Chat, **content: Any) -> JsonObject:
    """Put a new message of the bot into a chat; the draft of that thread is over."""
    reply_to = answered(call, chat)
    thread_id, in_topic = chat.thread_of(call.optional_number("message_thread_id"), reply_to)
    markup = markup_of(call)
    message = Message(
        chat.next_number(), chat.id, api.me, api.clock.now(),
        thread_id=thread_id, in_topic=in_topic, reply_to=reply_to, markup=markup, **content,
    )  # fmt: skip
    chat.add(message)
    api.record.sent.append(message)
    api.drafts.clear(chat.id, thread_id)
    return chat.shown(message)


def send_message(api: BotApi, call: Call) -> JsonObject:
    chat = api.chats.writable(call.chat_id)
    text, entities = message_text(call)
    return post(api, call, chat, text=text, entities=entities)


def send_document(api: BotApi, call: Call) -> JsonObject:
    chat = api.chats.writable(call.chat_id)
    reference = call.text("document")
    upload = call.uploads.get(reference.removeprefix("attach://")) or call.uploads.get("document")
    if upload is None:
        raise bad_request("there is no document in the request" if not reference else "wrong file identifier/HTTP URL specified")
    if not upload.content:
        raise bad_request("file must be non-empty")
    caption, entities = formatted(call, "caption", "caption_entities", CAPTION_UNITS, "message caption is too long")
    return post(api, call, chat, text=caption, entities=entities, document=(upload.filename, upload.content))


def own_message(api: BotApi, call: Call) -> tuple[Chat, Message]:
    """The bot's message that a call wants to change. Raises RefusedError where there is none."""
    chat = api.chats.writable(call.chat_id)
    message = chat.messages.get(call.number("message_id"))
    if message is None:
        raise bad_request("message to edit not found")
    if not message.from_bot:
        raise bad_request("message can't be edited")
    return chat, message


def edit_message_text(api: BotApi, call: Call) -> JsonObject:
    chat, message = own_message(api, call)
    text, entities = message_text(call)
    markup = markup_of(call)
    if message.document:
        raise bad_request("there is no text in the message to edit")
    if (text, entities, markup) == (message.text, message.entities, message.markup):
        raise bad_request(NOT_MODIFIED)
    message.text, message.entities, message.markup = text, entities, markup
    message.edit_date = int(time.time())
    message.edits.append((api.clock.now(), text))
    return chat.shown(message)


def edit_message_reply_markup(api: BotApi, call: Call) -> JsonObject:
    chat, message = own_message(api, call)
    markup = markup_of(call)
    if markup == message.markup:
        raise bad_request(NOT_MODIFIED)
    message.markup, message.edit_date = markup, int(time.time())
    return chat.shown(message)


def delete_message(api: BotApi, call: Call) -> bool:
    chat = api.chats.writable(call.chat_id)
    message = chat.messages.get(call.number("message_id"))
    if message is None:
        raise bad_request("message to delete not found")
    if not (message.from_bot or chat.is_private or chat.bot_status == "administrator"):
        raise bad_request("message can't be deleted")
    del chat.messages[message.message_id]
    return True


def send_chat_action(api: BotApi, call: Call) -> bool:
    chat = api.chats.writable(call.chat_id)
    action = call.text("action")
    if action not in ACTIONS:
        raise bad_request("wrong parameter action in request")
    thread_id, _ = chat.thread_of(call.optional_number("message_thread_id"), None)
    api.record.actions.append((api.clock.now(), chat.id, thread_id, action))
    return True


def answer_callback_query(api: BotApi, call: Call) -> bool:
    query = api.callbacks.get(call.text("callback_query_id"))
    if query is None or query.answer is not None:
        raise bad_request("query is too old and response timeout expired or query ID is invalid")
    if units(call.text("text")) > 200:
        raise bad_request("MESSAGE_TOO_LONG")
    query.answer = call.text("text")
    return True
