"""Sending one part of an answer, in the first form that Telegram takes: as an edit of the preview, in its topic, formatted;
then without what stood in the way.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import BufferedInputFile, MessageEntity, ReplyParameters

from ai_assistant.bot.formatting.parts import DocumentPart, Part, TextPart, marked
from ai_assistant.bot.send_errors import Obstacle, is_hopeless, obstacle_of

logger = logging.getLogger(__name__)

SEND_SECONDS = 20
CAPTION_CHARACTERS = 500
"""At most two UTF-16 units each, of Telegram's 1,024."""

FILE_NAME = "answer.txt"


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a part is sent."""

    chat_id: int
    part: Part
    edited: int | None = None
    """The message that becomes this part."""
    thread_id: int | None = None
    reply_to: int | None = None
    is_silent: bool = False
    mark: str = ""
    """For a message that may have arrived already. An edit needs none: done twice it is still one message."""


async def send(bot: Bot, form: Form, begin: Callable[[], Awaitable[None]]) -> int:
    """The id of the message. `begin` is awaited before every try. Raises what Telegram says when no form helps."""
    while True:
        await begin()
        try:
            return await try_once(bot, form)
        except TelegramBadRequest as error:
            obstacle = obstacle_of(error)
            if obstacle == Obstacle.UNCHANGED and form.edited is not None:
                return form.edited
            simpler = None if is_hopeless(error) else without(form, obstacle)
            if simpler is None:
                raise
            logger.info("Telegram refused a part (%s); trying another form of it", obstacle or error.message)
            form = simpler


def without(form: Form, obstacle: Obstacle | None) -> Form | None:
    """The same part without what stands in the way; None when nothing can be left out."""
    part = form.part
    if obstacle == Obstacle.NO_THREAD:
        return replace(form, thread_id=None, reply_to=None) if form.thread_id is not None else None
    if obstacle == Obstacle.NO_QUESTION:
        return replace(form, reply_to=None) if form.reply_to is not None else None
    if obstacle == Obstacle.TOO_LONG:
        if isinstance(part, TextPart):
            return replace(form, part=DocumentPart(FILE_NAME, part.text), edited=None)
        return replace(form, part=replace(part, caption="")) if part.caption else None
    if obstacle != Obstacle.NOT_EDITABLE and isinstance(part, TextPart) and part.entities:
        # also for refusals that nobody has heard of yet: better plain than not at all
        return replace(form, part=part.plain())
    return replace(form, edited=None) if form.edited is not None else None


async def try_once(bot: Bot, form: Form) -> int:
    part = form.part
    if isinstance(part, TextPart) and form.edited is not None:
        await bot.edit_message_text(
            part.text,
            chat_id=form.chat_id,
            message_id=form.edited,
            entities=entities_of(part),
            request_timeout=SEND_SECONDS,
        )
        return form.edited
    reply = ReplyParameters(message_id=form.reply_to, allow_sending_without_reply=True) if form.reply_to else None
    if isinstance(part, DocumentPart):
        message = await bot.send_document(
            form.chat_id,
            BufferedInputFile(part.text.encode(), part.filename),
            caption=(form.mark + part.caption)[:CAPTION_CHARACTERS].strip() or None,
            message_thread_id=form.thread_id,
            reply_parameters=reply,
            disable_notification=form.is_silent,
            request_timeout=SEND_SECONDS,
        )
        return message.message_id
    part = marked(part, form.mark)
    message = await bot.send_message(
        form.chat_id,
        part.text,
        entities=entities_of(part),
        message_thread_id=form.thread_id,
        reply_parameters=reply,
        disable_notification=form.is_silent,
        request_timeout=SEND_SECONDS,
    )
    return message.message_id


def entities_of(part: TextPart) -> list[MessageEntity] | None:
    return [MessageEntity.model_validate(entity) for entity in part.entities] or None
