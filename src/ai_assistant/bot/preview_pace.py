"""When the next preview may go to a chat. Pure: times are given, in seconds of any clock that only goes on."""

from collections import deque

DRAFT_SECONDS = 0.3
"""From draft to draft: smooth to read, and far from Telegram's limits."""

EDIT_SECONDS = 1.0
MINUTE = 60.0
EDITS_PER_MINUTE = 15
"""Of the about 20 messages and edits that Telegram takes a minute in a group: answers need the rest."""

SPARING = ((4, EDIT_SECONDS), (8, 3.0), (EDITS_PER_MINUTE, 6.0))
"""Up to so many edits in the last minute: seconds until the next one. Lively at first, and never stuck for long."""


class Pace:
    """One chat's, for all that is previewed in it."""

    def __init__(self) -> None:
        self.held_until = float("-inf")
        self._drafted_at = float("-inf")
        self._edited_at: deque[float] = deque(maxlen=EDITS_PER_MINUTE)

    def hold(self, until: float) -> None:
        """Nothing at all before then."""
        self.held_until = max(self.held_until, until)

    def note_draft(self, started: float) -> None:
        self._drafted_at = started

    def note_edit(self, ended: float) -> None:
        """A message was sent or edited. Counted from its end: however long it was under way, Telegram saw it before that."""
        self._edited_at.append(ended)

    def draft_at(self) -> float:
        """When the next draft may begin."""
        return max(self.held_until, self._drafted_at + DRAFT_SECONDS)

    def edit_at(self, now: float) -> float:
        """When the next message or edit may begin."""
        if not self._edited_at:
            return self.held_until
        recent = sum(1 for at in self._edited_at if at > now - MINUTE)
        if recent >= EDITS_PER_MINUTE:
            return max(self.held_until, self._edited_at[0] + MINUTE)
        gap = next(seconds for count, seconds in SPARING if recent < count)
        return max(self.held_until, self._edited_at[-1] + gap)

    def is_idle(self, now: float) -> bool:
        """Forgetting it changes nothing."""
        return self.held_until <= now and not (self._edited_at and self._edited_at[-1] > now - MINUTE)
