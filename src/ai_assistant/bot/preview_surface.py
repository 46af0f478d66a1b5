"""Where a preview is shown: a draft in a private chat, a message elsewhere. What Telegram raises is not caught here."""

from aiogram import Bot
from aiogram.enums import ChatAction
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity, ReplyParameters

from ai_assistant.bot.formatting.parts import TextPart
from ai_assistant.bot.preview_errors import LostMessageError
from ai_assistant.bot.preview_view import Preview, draft_id_of
from ai_assistant.bot.send_errors import may_have_arrived
from ai_assistant.bot.texts import say

STOP_PREFIX = "stop:"
"""Of a Stop button's data; the task's id follows. 41 of Telegram's 64 bytes."""


class DraftSurface:
    """Private chats only. It vanishes by itself when a real message comes, or after 30 seconds."""

    is_draft = True
    message_id = None

    def __init__(self, bot: Bot, preview: Preview) -> None:
        self._bot = bot
        self._preview = preview

    async def show(self, part: TextPart, *, is_answer: bool) -> None:
        """Without text: "Thinking…"."""
        await self._bot.send_message_draft(
            self._preview.chat_id,
            draft_id_of(self._preview.task_id),
            message_thread_id=self._preview.thread_id,
            text=part.text or None,
            parse_mode=None,
            entities=entities_of(part),
            can_stop=True,
            # until the partial answer comes; "Thinking…" would stay for nothing
            keep_on_stop=is_answer,
        )


class MessageSurface:
    """Groups, and where drafts do not work. The message becomes the first part of the answer (see the deliverer)."""

    is_draft = False

    def __init__(self, bot: Bot, preview: Preview, message_id: int | None = None) -> None:
        self._bot = bot
        self._preview = preview
        self.message_id = message_id

    async def show(self, part: TextPart, *, is_answer: bool) -> None:
        """Raises LostMessageError when nobody knows whether the first message has arrived."""
        button = stop_button(self._preview) if is_answer else None
        if self.message_id is None:
            await self._send(part, button)
        else:
            await self._bot.edit_message_text(
                part.text,
                chat_id=self._preview.chat_id,
                message_id=self.message_id,
                parse_mode=None,
                entities=entities_of(part),
                reply_markup=button,
            )

    async def type(self) -> None:
        await self._bot.send_chat_action(self._preview.chat_id, ChatAction.TYPING, message_thread_id=self._preview.thread_id)

    async def _send(self, part: TextPart, button: InlineKeyboardMarkup | None) -> None:
        reply = None
        if self._preview.reply_to is not None:
            reply = ReplyParameters(message_id=self._preview.reply_to, allow_sending_without_reply=True)
        try:
            message = await self._bot.send_message(
                self._preview.chat_id,
                part.text,
                message_thread_id=self._preview.thread_id,
                parse_mode=None,
                entities=entities_of(part),
                reply_parameters=reply,
                reply_markup=button,
                # the answer rings, not its beginning
                disable_notification=True,
            )
        except Exception as error:
            if may_have_arrived(error):
                raise LostMessageError from error
            raise
        self.message_id = message.message_id


Surface = DraftSurface | MessageSurface


def entities_of(part: TextPart) -> list[MessageEntity] | None:
    return [MessageEntity.model_validate(entity) for entity in part.entities] or None


def stop_button(preview: Preview) -> InlineKeyboardMarkup:
    button = InlineKeyboardButton(text=say("stop_button", preview.language), callback_data=STOP_PREFIX + preview.task_id)
    return InlineKeyboardMarkup(inline_keyboard=[[button]])
