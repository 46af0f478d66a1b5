"""/export in the background: a long one must not hold up what else happens in the chat."""

import asyncio
import contextlib
import logging
import tempfile
from pathlib import Path

from aiogram import Bot
from aiogram.enums import ChatAction
from aiogram.exceptions import TelegramAPIError
from aiogram.types import FSInputFile

from ai_assistant.bot.export_files import MAX_BYTES, NAME, prepared
from ai_assistant.bot.texts import say
from ai_assistant.bot.user_client import UserClient
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

UPLOAD_SECONDS = 600
"""For one file of 50 MB on a slow line."""

ACTION_SECONDS = 4.5
"""Telegram shows for five that a file comes."""


class Exports:
    """One per bot; one export per person at a time."""

    def __init__(self, bot: Bot, users: UserClient, max_bytes: int = MAX_BYTES) -> None:
        self._bot = bot
        self._users = users
        self._max_bytes = max_bytes
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, chat_id: int, language: str) -> bool:
        """Whether it begins now; False: the last one is not over yet."""
        if name in self._running:
            return False
        task = self._running[name] = asyncio.create_task(self._export(name, chat_id, language))
        task.add_done_callback(lambda _: self._running.pop(name, None))
        return True

    async def cancel(self, name: str) -> None:
        """What is being deleted is not sent any more."""
        if (task := self._running.get(name)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def stop(self) -> None:
        for name in list(self._running):
            await self.cancel(name)

    async def wait(self) -> None:
        """Until all that have begun are over."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _export(self, name: str, chat_id: int, language: str) -> None:
        showing = asyncio.create_task(self._show_action(chat_id))
        try:
            await self._send(name, chat_id, language)
        except AssistantError as error:
            logger.warning("An export failed (%s)", error.message)
            await self._say("unavailable", chat_id, language)
        except TelegramAPIError as error:
            logger.warning("An export could not be sent (%s)", type(error).__name__)
            await self._say("export_failed", chat_id, language)
        except OSError as error:
            logger.error("An export could not be written to the temporary folder (%s)", error.strerror)
            await self._say("export_failed", chat_id, language)
        finally:
            showing.cancel()

    async def _show_action(self, chat_id: int) -> None:
        """Best effort, until cancelled."""
        while True:
            with contextlib.suppress(TelegramAPIError):
                await self._bot.send_chat_action(chat_id, ChatAction.UPLOAD_DOCUMENT)
            await asyncio.sleep(ACTION_SECONDS)

    async def _send(self, name: str, chat_id: int, language: str) -> None:
        with tempfile.TemporaryDirectory(prefix="ai-assistant-export-") as folder:
            path = Path(folder) / NAME
            with path.open("wb") as file:
                is_known = await self._users.export(name, file)
            if not is_known:
                await self._say("nothing_stored", chat_id, language)
                return
            files = await asyncio.to_thread(prepared, path, self._max_bytes)
            for index, part in enumerate(files):
                caption = say("export_part", language, part=index + 1, parts=len(files)) if len(files) > 1 else None
                await self._bot.send_document(chat_id, FSInputFile(part), caption=caption, request_timeout=UPLOAD_SECONDS)

    async def _say(self, key: str, chat_id: int, language: str) -> None:
        try:
            await self._bot.send_message(chat_id, say(key, language))
        except TelegramAPIError as error:
            logger.info("Nobody could be told what became of an export (%s)", type(error).__name__)
