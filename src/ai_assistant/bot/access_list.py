"""Who admins have let in or kept out at run time: fingerprints (see there) in the bot's own settings at the gateway.

Settings hold 16 KB, so a long list goes on in further records: `tg-bot:4242`, `tg-bot:4242:1`, and so on.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum

from ai_assistant.bot.fingerprints import Fingerprints
from ai_assistant.bot.gateway_client import GatewayRefusalError
from ai_assistant.bot.user_client import UserClient
from ai_assistant.errors import AssistantError

logger = logging.getLogger(__name__)

PREFIX = "access:"
MAX_PER_RECORD = 350
"""Of about 36 bytes each: a record has room for other settings of the bot's."""

FRESH_SECONDS = 30.0
"""How late another process of the same bot may learn of a decision; our own count at once."""
PAUSE_SECONDS = 5.0
"""After a gateway that did not answer."""
READ_SECONDS = 3.0


class Listed(StrEnum):
    """What the list says of somebody."""

    ADMIN = "admin"
    ALLOWED = "allowed"
    DENIED = "denied"


class AccessList:
    """One per bot."""

    def __init__(self, users: UserClient, bot_id: int, fingerprints: Fingerprints, clock: Callable[[], float]) -> None:
        self._users = users
        self._name = f"tg-bot:{bot_id}"
        self._fingerprints = fingerprints
        self._clock = clock
        self._records: list[dict[str, Listed]] = []
        self._fresh_until = float("-inf")
        self._lock = asyncio.Lock()
        self.is_known = False
        """Whether it has been read at all."""
        self.is_refused = False
        """Whether the gateway refused to tell, for a wrong key, say: waiting does not help."""

    async def refresh(self, *, is_patient: bool = False) -> None:
        """Read it again if it is time to. A gateway that does not answer leaves everything as it was.
        `is_patient`: if nothing is known yet, wait for as long as the gateway's client does (some 15 s)."""
        if self._clock() < self._fresh_until:
            return
        async with self._lock:
            if self._clock() < self._fresh_until:
                return
            try:
                async with asyncio.timeout(None if is_patient and not self.is_known else READ_SECONDS):
                    self._records = await self._read()
                self.is_known = True
                self._fresh_until = self._clock() + FRESH_SECONDS
            except (AssistantError, TimeoutError) as error:
                self.is_refused = isinstance(error, GatewayRefusalError)
                logger.warning("The gateway does not say who is let in (%s)", error or type(error).__name__)
                self._fresh_until = self._clock() + PAUSE_SECONDS

    async def _read(self) -> list[dict[str, Listed]]:
        records: list[dict[str, Listed]] = []
        while True:
            settings = await self._users.settings(self._record_name(len(records)))
            values = {key: value for key, value in settings.items() if key.startswith(PREFIX) and value in set(Listed)}
            records.append({key: Listed(value) for key, value in values.items()})
            if len(values) < MAX_PER_RECORD:  # the next one is begun when this one is full
                return records

    def get(self, subject: str) -> Listed | None:
        key = PREFIX + self._fingerprints.of(subject)
        return next((record[key] for record in self._records if key in record), None)

    @property
    def has_admin(self) -> bool:
        return any(Listed.ADMIN in record.values() for record in self._records)

    async def put(self, subject: str, listed: Listed) -> None:
        """Raises AssistantError if the gateway does not keep it; then nothing has changed."""
        key = PREFIX + self._fingerprints.of(subject)
        async with self._lock:
            if not self.is_known:
                self._records = await self._read()
                self.is_known = True
            index = self._place_of(key)
            await self._users.remember(self._record_name(index), {key: listed.value})
            if index == len(self._records):
                self._records.append({})
            self._records[index][key] = listed

    def _place_of(self, key: str) -> int:
        """The record that has the key, else the first with room."""
        for index, record in enumerate(self._records):
            if key in record:
                return index
        return next((index for index, record in enumerate(self._records) if len(record) < MAX_PER_RECORD), len(self._records))

    def _record_name(self, index: int) -> str:
        return f"{self._name}:{index}" if index else self._name
