"""When Telegram takes the next request: its limits per bot, chat and group, and the pauses that it has ordered.

Pure accounting. Times are seconds of whatever clock the caller reads. A chat costs memory only while its past matters.
"""

from collections import deque
from dataclasses import dataclass

from ai_assistant.bot.urgency import Urgency

Place = int | str
"""A chat's id; for requests that belong to no chat the method's name, because floods of theirs concern nothing else."""

MINUTE = 60.0
SECOND = 1.0
STORM = 5
"""So many chats refused in a row, and nobody served in between: it is not about the chats, but about the bot."""


@dataclass(frozen=True)
class Rates:
    """What Telegram tolerates. Numbers per second and minute count a sliding window."""

    per_second: int = 30
    """Requests of the whole bot."""
    broadcasts_per_second: int = 25
    """Of those, what a broadcast may fill."""
    previews_per_second: int = 24
    """Of those, what previews may fill."""
    chat_burst: int = 3
    """Messages at once in a chat that was quiet; then one a second."""
    group_per_minute: int = 20
    """Messages and edits in one group."""
    group_previews_per_minute: int = 15
    """Of those, what previews may fill."""

    def all_chats(self, level: Urgency) -> int:
        return {Urgency.BROADCAST: self.broadcasts_per_second, Urgency.PREVIEW: self.previews_per_second}.get(
            level, self.per_second
        )

    def group(self, level: Urgency) -> int:
        return self.group_previews_per_minute if level == Urgency.PREVIEW else self.group_per_minute


class Windows:
    """What was sent, and who must not be spoken to."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._sent: deque[float] = deque(maxlen=rates.per_second)
        self._quiet_at: dict[Place, float] = {}
        """When a chat will have its whole burst again."""
        self._groups: dict[Place, deque[float]] = {}
        self.held: dict[Place, float] = {}
        """When the pause of a place ends; some are over."""
        self._all_held = 0.0
        self._refused: dict[Place, float] = {}
        """Chats of the refusals since anybody was served, with the ends of their pauses."""

    def __len__(self) -> int:
        """Places that are remembered."""
        return len(self._quiet_at.keys() | self._groups.keys() | self.held.keys())

    def held_until(self, place: Place) -> float:
        return max(self._all_held, self.held.get(place, 0.0))

    def free_at(self, place: Place, level: Urgency, *, is_message: bool) -> float:
        """The earliest time for such a request; one that is over means now."""
        times = [self.held_until(place)]
        if len(self._sent) >= (limit := self._rates.all_chats(level)):
            times.append(self._sent[-limit] + SECOND)
        if is_message:
            if place in self._quiet_at:
                times.append(self._quiet_at[place] - (self._rates.chat_burst - 1) * SECOND)
            group = self._groups.get(place, ())
            if len(group) >= (limit := self._rates.group(level)):
                times.append(group[-limit] + MINUTE)
        return max(times)

    def take(self, place: Place, now: float, *, is_message: bool) -> None:
        """A request goes out."""
        self._sent.append(now)
        if not is_message:
            return
        self._quiet_at[place] = max(self._quiet_at.get(place, now), now) + SECOND
        if is_group(place):
            self._groups.setdefault(place, deque(maxlen=self._rates.group_per_minute)).append(now)

    def served(self) -> None:
        """Telegram has taken a request."""
        self._refused.clear()

    def hold(self, place: Place, until: float) -> None:
        """Nothing to this place until then. A pause is never shortened."""
        self.held[place] = max(self.held.get(place, 0.0), until)

    def refused(self, place: Place, until: float) -> None:
        """Telegram's flood control: the place is held; and all are, when it is not about this one."""
        self.hold(place, until)
        if not is_chat(place):
            return
        self._refused[place] = until
        if len(self._refused) >= STORM:
            # the shortest: each of these chats keeps its own pause, and afterwards one request finds out about the rest
            self._all_held = max(self._all_held, min(self._refused.values()))
            self._refused.clear()

    def forget(self, now: float) -> None:
        """What does not matter any more."""
        self.held = {place: until for place, until in self.held.items() if until > now}
        self._quiet_at = {place: until for place, until in self._quiet_at.items() if until > now}
        self._groups = {place: sent for place, sent in self._groups.items() if sent[-1] + MINUTE > now}


def is_chat(place: Place) -> bool:
    return isinstance(place, int) or place.startswith("@")


def is_group(place: Place) -> bool:
    """Channels have the groups' limits."""
    return place < 0 if isinstance(place, int) else place.startswith("@")
