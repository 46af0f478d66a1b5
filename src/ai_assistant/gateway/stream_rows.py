"""Readers of live text and PostgreSQL: one query for all that wait, stall or have heard of an end."""

import asyncio
import logging
import uuid

from ai_assistant.database.session import Database
from ai_assistant.errors import DatabaseUnavailableError
from ai_assistant.gateway.stream_channel import STALL_SECONDS, Channel
from ai_assistant.gateway.task_snapshot import read_snapshots

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.005
"""Readers that come at the same moment share a query."""


class RowPoller:
    """Reads the rows of stalled channels once a second, and of those that want it at once."""

    def __init__(
        self, database: Database, channels: dict[uuid.UUID, Channel], wanted: asyncio.Event, wake: asyncio.Event
    ) -> None:
        self._database = database
        self._channels = channels
        self._wanted = wanted
        self._wake = wake
        self._is_away = False

    async def run(self) -> None:
        now = asyncio.get_running_loop().time
        next_round = now() + STALL_SECONDS
        while True:
            try:
                async with asyncio.timeout_at(next_round):
                    await self._wanted.wait()
                await asyncio.sleep(GATHER_SECONDS)
            except TimeoutError:
                pass
            self._wanted.clear()
            is_round = now() >= next_round
            if is_round:
                next_round = now() + STALL_SECONDS
            due = [item for item in self._channels.values() if item.row_wanted or (is_round and item.is_stalled(now()))]
            if due and not await self._poll(due):
                await asyncio.sleep(STALL_SECONDS)

    async def _poll(self, due: list[Channel]) -> bool:
        """False if PostgreSQL did not answer; the channels stay due."""
        for channel in due:
            channel.row_wanted = False
        try:
            async with self._database.session() as session:
                found = await read_snapshots(session, [channel.task_id for channel in due])
        except Exception as error:
            for channel in due:
                channel.row_wanted = True
            if not self._is_away:
                self._is_away = True
                expected = isinstance(error, DatabaseUnavailableError)
                logger.warning("Open streams wait for the database: %s", error, exc_info=None if expected else error)
            return False
        if self._is_away:
            self._is_away = False
            logger.info("The database answers again")
        now = asyncio.get_running_loop().time()
        for channel in due:
            if channel.look(found.get(channel.task_id), now):
                self._wake.set()
        return True
