"""Who may talk to the bot.

`open`: everybody. `pairing`: whoever an admin lets in, for which strangers get a code. `allowlist`: as pairing, without codes.
In every mode admins may keep somebody out, and a group is one subject: who is let in there is everybody in it.
Nothing of those who are not let in reaches the gateway.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from aiogram.types import Chat, User

from ai_assistant.bot.access_list import AccessList, Listed
from ai_assistant.bot.fingerprints import Fingerprints
from ai_assistant.bot.pairing import MAX_WRONG_TRIES, Codes, Occasions, is_code, matches
from ai_assistant.errors import AssistantError
from ai_assistant.settings import BotSettings


class Standing(StrEnum):
    """Somebody's, in a chat."""

    ADMIN = "admin"
    ALLOWED = "allowed"
    DENIED = "denied"
    STRANGER = "stranger"
    UNKNOWN = "unknown"
    """The list could not be read yet."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody who waits to be let in."""

    id: int
    language: str | None


class Access:
    """One per bot."""

    def __init__(self, settings: BotSettings, listed: AccessList, fingerprints: Fingerprints, clock: Callable[[], float]) -> None:
        self.mode = settings.telegram_access
        self.listed = listed
        self.invitations: Codes[None] = Codes(clock)
        self._askers: Codes[Asker] = Codes(clock)
        self._wrong = Occasions(clock)
        self._admins = frozenset(settings.telegram_admins)
        self._allowed = frozenset(entry.lower().removeprefix("@") for entry in settings.telegram_allowed)
        self._owner_code = fingerprints.code("owner")

    @property
    def owner_code(self) -> str | None:
        """Makes the first person who sends it an admin; None where there is one, or nobody can become one."""
        has_admin = bool(self._admins) or not self.listed.is_known or self.listed.has_admin
        return None if has_admin or self.mode != "pairing" else self._owner_code

    async def standing(self, user: User | None, chat: Chat | None, *, is_patient: bool = False) -> Standing:
        """Of a person in a chat. Asks the gateway only now and then; see AccessList.refresh for `is_patient`."""
        await self.listed.refresh(is_patient=is_patient)
        person = user.id if user else chat.id if chat is not None and chat.type == "private" else None
        of_person = self._of_person(person, user.username if user else None)
        if chat is None or chat.type == "private" or of_person in (Standing.ADMIN, Standing.DENIED):
            return of_person
        return self._of(f"chat:{chat.id}", str(chat.id), chat.username)

    def _of_person(self, person: int | None, username: str | None) -> Standing:
        if person is None:
            return Standing.STRANGER
        if self.is_admin(person):
            return Standing.ADMIN
        return self._of(f"person:{person}", str(person), username)

    def _of(self, subject: str, number: str, username: str | None) -> Standing:
        name = username.lower() if username else None
        found = {self.listed.get(subject), self.listed.get(f"name:{name}") if name else None}
        if Listed.DENIED in found:
            return Standing.DENIED
        if found != {None} or number in self._allowed or name in self._allowed:
            return Standing.ALLOWED
        if not self.listed.is_known:
            return Standing.UNKNOWN
        return Standing.ALLOWED if self.mode == "open" else Standing.STRANGER

    def is_admin(self, person: int) -> bool:
        return person in self._admins or self.listed.get(f"person:{person}") is Listed.ADMIN

    # how people get in

    def code_for(self, asker: Asker) -> str:
        """The code with which an admin lets the person in; the same one for as long as it is good."""
        return self._askers.code_of(lambda known: known.id == asker.id) or self._askers.issue(asker)

    async def approve(self, code: str) -> Asker | None:
        """Let in whoever got the code; None for a wrong or old one. Raises AssistantError."""
        if (found := self._askers.find(code)) is None:
            return None
        await self.listed.put(f"person:{found[1].id}", Listed.ALLOWED)
        self._askers.use_up(found[0])
        return found[1]

    async def redeem(self, person: int, given: str) -> Standing:
        """Let in whoever sends a code that an admin made, or make the owner an admin. UNKNOWN: too many wrong tries, the code
        was not looked at. Raises AssistantError."""
        if self._wrong.count(person) >= MAX_WRONG_TRIES:
            return Standing.UNKNOWN
        if is_code(given):
            if self.owner_code is not None and matches(given, self.owner_code):
                await self.listed.put(f"person:{person}", Listed.ADMIN)
                return Standing.ADMIN
            if (found := self.invitations.find(given)) is not None:
                self.invitations.use_up(found[0])  # first: two who send it at once are not both let in
                try:
                    await self.listed.put(f"person:{person}", Listed.ALLOWED)
                except AssistantError:
                    self.invitations.give_back(*found)
                    raise
                return Standing.ALLOWED
        self._wrong.note(person)
        return Standing.STRANGER

    def forget(self, person: int) -> None:
        """What is kept in memory of a person. The list stays: it holds no ids, and a denied person stays denied."""
        self._askers.drop(lambda asker: asker.id == person)
        self._wrong.forget(person)
