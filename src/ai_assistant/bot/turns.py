"""Waiting for one's turn to speak to Telegram: the most urgent first, fair between chats, one request of a chat at a time.

One at a time, because what is said to a chat while another request of its learns of a pause would break that pause, and so
that a late edit of a preview cannot overtake the answer.
"""

import asyncio
from dataclasses import dataclass

from ai_assistant.bot.flood_windows import Place, Rates, Windows, is_chat
from ai_assistant.bot.urgency import Urgency

PATIENCE_SECONDS = 5.0
"""Nobody waits longer: who would have to is told at once how long."""

FORGET_SECONDS = 30.0


class NoTurnError(Exception):
    """It is not possible now."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Not within {seconds:.1f} s.")
        self.seconds = seconds
        """Until it may be."""


@dataclass(eq=False)
class Turn:
    """A request that waits."""

    place: Place
    level: Urgency
    is_message: bool
    number: int
    give_up_at: float
    granted: asyncio.Future[None]


class Turns:
    """Belongs to one event loop, whose clock it goes by."""

    def __init__(self, rates: Rates) -> None:
        self.windows = Windows(rates)
        self._waiting: dict[Place, list[Turn]] = {}
        self._in_air: set[Place] = set()
        self._last: dict[Place, int] = {}
        """For places with somebody waiting: the number that was given out when one of theirs went last."""
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._forget_at = 0.0

    def __len__(self) -> int:
        """Requests that wait."""
        return sum(map(len, self._waiting.values()))

    async def take(self, place: Place, level: Urgency, *, is_message: bool, give_up_at: float) -> None:
        """Returns when the request may go; `give_back` must follow. Raises NoTurnError as soon as it would be too late."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        free_at = self.windows.free_at(place, level, is_message=is_message)
        if level == Urgency.PREVIEW:
            if free_at > now or place in self._in_air or place in self._waiting:
                raise NoTurnError(max(0.0, free_at - now))
            self._go(place, now, is_message=is_message)
            return
        if self._is_too_late(place, level, free_at, give_up_at, now):
            raise NoTurnError(free_at - now)
        self._number += 1
        turn = Turn(place, level, is_message, self._number, give_up_at, loop.create_future())
        self._waiting.setdefault(place, []).append(turn)
        self._serve()
        try:
            await turn.granted
        except asyncio.CancelledError:
            if turn.granted.done() and not turn.granted.cancelled() and turn.granted.exception() is None:
                self.give_back(place)  # granted and cancelled in the same moment
            else:
                self._remove(turn)
            raise

    def give_back(self, place: Place) -> None:
        """The request is over."""
        self._in_air.discard(place)
        self._serve()

    def hold(self, place: Place, seconds: float, *, is_news: bool = True) -> None:
        """Telegram's flood control, told just now or known from elsewhere. Who waits there and cannot wait so long is told."""
        until = asyncio.get_running_loop().time() + seconds
        if is_news:
            self.windows.refused(place, until)
        else:
            self.windows.hold(place, until)
        self._serve()

    def _serve(self) -> None:
        """Let go all that may, and come again when the next one may."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._forget_at:
            self._forget_at = now + FORGET_SECONDS
            self.windows.forget(now)
        while ready := [turn for turn in self._heads() if self._free_at(turn) <= now]:
            turn = min(ready, key=lambda turn: (turn.level, max(turn.number, self._last.get(turn.place, 0))))
            self._number += 1
            self._last[turn.place] = self._number
            self._remove(turn)
            self._go(turn.place, now, is_message=turn.is_message)
            turn.granted.set_result(None)
        self._disappoint(now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        times = [self._free_at(turn) for turn in self._heads()]
        times += [turn.give_up_at for turns in self._waiting.values() for turn in turns]
        if times:
            self._timer = loop.call_at(min(times), self._serve)

    def _disappoint(self, now: float) -> None:
        """Tell those whose turn comes too late, or did not come in time."""
        for turn in [turn for turns in self._waiting.values() for turn in turns]:
            free_at = self._free_at(turn)
            if turn.give_up_at <= now or self._is_too_late(turn.place, turn.level, free_at, turn.give_up_at, now):
                self._remove(turn)
                if not turn.granted.done():
                    turn.granted.set_exception(NoTurnError(max(free_at - now, 1.0)))

    def _is_too_late(self, place: Place, level: Urgency, free_at: float, give_up_at: float, now: float) -> bool:
        is_for_the_ledger = level in (Urgency.FINAL, Urgency.BROADCAST)
        return free_at > give_up_at or (is_for_the_ledger and self.windows.held_until(place) > now)

    def _heads(self) -> list[Turn]:
        """Who is next in each place where nothing is on its way."""
        return [
            min(turns, key=lambda turn: (turn.level, turn.number))
            for place, turns in self._waiting.items()
            if place not in self._in_air
        ]

    def _free_at(self, turn: Turn) -> float:
        return self.windows.free_at(turn.place, turn.level, is_message=turn.is_message)

    def _go(self, place: Place, now: float, *, is_message: bool) -> None:
        if is_chat(place):
            self._in_air.add(place)
        self.windows.take(place, now, is_message=is_message)

    def _remove(self, turn: Turn) -> None:
        turns = self._waiting.get(turn.place, [])
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._waiting.pop(turn.place, None)
            self._last.pop(turn.place, None)
