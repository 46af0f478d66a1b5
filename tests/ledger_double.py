"""The gateway's delivery ledger in memory, by the event loop's clock: a second implementation for tests in simulated time."""

import asyncio
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ai_assistant.bot.gateway_client import GatewayRefusalError
from ai_assistant.errors import AssistantError

DEAD = ("delivered", "dead")


def stale() -> GatewayRefusalError:
    return GatewayRefusalError("Another attempt holds it.", "stale_attempt")


@dataclass
class Entry:
    """One delivery."""

    id: str
    seq: int
    target: dict[str, Any]
    task: dict[str, Any] | None
    text: str | None = None
    preview_message_id: int | None = None
    state: str = "pending"
    attempt: int = 0
    parts: list[int] = field(default_factory=list)
    parts_total: int | None = None
    plan: list[dict[str, Any]] | None = None
    uncertain: bool = False
    in_flight: bool = False
    lease_until: float = 0.0
    not_before: float = 0.0
    failures: int = 0
    error: str = ""

    @property
    def is_open(self) -> bool:
        return self.state not in DEAD


class LedgerDouble:
    """Has the one method of GatewayClient that deliveries need."""

    def __init__(self, trouble: Callable[[str], str | None] = lambda _: None) -> None:
        self.trouble = trouble
        """Asked for every call with its event: "before" loses the request, "after" the answer to it."""
        self.entries: dict[str, Entry] = {}
        self.reports: list[tuple[str, str, dict[str, Any]]] = []
        """Id, event and details of all reports that were taken."""
        self.changed = asyncio.Event()
        self.first_pause = 1.0
        """Seconds after the first failure."""

    def owe(self, chat: int, text: str = "An answer.", **more: Any) -> Entry:
        """An answer that is written."""
        seq = len(self.entries)
        task = {"task_id": f"t{seq}", "status": "succeeded", "text": text, "error": None, "finish_reason": "stop"}
        target = {"chat_id": chat, "language": "en"} | more.pop("target", {})
        task |= more.pop("task", None) or {}
        entry = Entry(f"d{seq}", seq, target, task, **more)
        self.entries[entry.id] = entry
        self.changed.set()
        return entry

    def broadcast(self, chat: int, text: str) -> Entry:
        entry = self.owe(chat)
        entry.task, entry.text = None, text
        return entry

    def is_settled(self) -> bool:
        return not any(entry.is_open for entry in self.entries.values())

    async def settled(self, seconds: float) -> None:
        """Until nothing is owed any more; fails after that time."""
        async with asyncio.timeout(seconds):
            while not self.is_settled():
                await asyncio.sleep(0.05)

    def of(self, entry: Entry) -> list[tuple[Any, ...]]:
        """The reports on a delivery: event and the values of its details."""
        return [(event, *details.values()) for which, event, details in self.reports if which == entry.id]

    async def call(self, method: str, path: str, *, json: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.005)
        is_claim, is_preview = path == "/api/deliveries/claim", path == "/api/deliveries/preview"
        trouble = self.trouble("claim" if is_claim else "preview" if is_preview else json["event"])
        if trouble == "before":
            raise AssistantError("The gateway is away.")
        if is_claim:
            result = await self._claim(json)
        elif is_preview:
            result = self._note_preview(json)
        else:
            found = re.fullmatch(r"/api/deliveries/(\w+)/report", path)
            assert found is not None, (method, path)
            result = self._report(self.entries[found[1]], dict(json))
        if trouble == "after":
            raise AssistantError("The gateway went away.")
        return result

    def _note_preview(self, body: dict[str, Any]) -> dict[str, Any]:
        entry = next(entry for entry in self.entries.values() if entry.task and entry.task["task_id"] == body["task_id"])
        entry.preview_message_id = body["message_id"]
        return {}

    async def _claim(self, body: dict[str, Any]) -> dict[str, Any]:
        give_up_at = self._now() + body["wait"]
        while not (due := self._due(body["limit"])) and self._now() < give_up_at:
            self.changed.clear()
            try:
                async with asyncio.timeout(1):
                    await self.changed.wait()
            except TimeoutError:
                pass
        claimed = []
        for entry in due:
            entry.state, entry.attempt = "sending", entry.attempt + 1
            entry.uncertain, entry.in_flight = entry.uncertain or entry.in_flight, False
            entry.lease_until = self._now() + body["lease_seconds"]
            names = ("id", "attempt", "target", "task", "text", "plan", "preview_message_id", "parts_total", "uncertain")
            claimed.append({name: getattr(entry, name) for name in names} | {"parts": list(entry.parts)})
        return {"deliveries": claimed}

    def _due(self, limit: int) -> list[Entry]:
        """The oldest per chat, where nothing is being sent and nothing is held."""
        now, due, seen = self._now(), [], set()
        blocked = {
            entry.target["chat_id"]
            for entry in self.entries.values()
            if entry.is_open and (entry.not_before > now or (entry.state == "sending" and entry.lease_until >= now))
        }
        for entry in self.entries.values():
            chat = entry.target["chat_id"]
            if entry.is_open and chat not in blocked and chat not in seen and len(due) < limit:
                seen.add(chat)
                due.append(entry)
        return due

    def _report(self, entry: Entry, body: dict[str, Any]) -> dict[str, Any]:
        event, attempt, lease = body.pop("event"), body.pop("attempt"), body.pop("lease_seconds")
        if entry.state != "sending" or entry.attempt != attempt:
            raise stale()
        self.reports.append((entry.id, event, body))
        entry.lease_until = self._now() + lease
        getattr(self, f"_{event}")(entry, **body)
        if entry.state != "sending":
            self.changed.set()
        return {"state": entry.state}

    def _planned(self, entry: Entry, plan: list[dict[str, Any]]) -> None:
        assert entry.plan is None or entry.plan == plan, "a plan stays"
        entry.plan, entry.parts_total = plan, len(plan)

    def _in_flight(self, entry: Entry, part: int, parts_total: int) -> None:
        assert part == len(entry.parts) < parts_total
        entry.in_flight = True

    def _part_done(self, entry: Entry, part: int, message_id: int) -> None:
        assert part <= len(entry.parts)
        assert entry.parts_total is not None
        if part < len(entry.parts):
            return
        entry.parts.append(message_id)
        entry.in_flight = entry.uncertain = False
        entry.failures = 0
        if len(entry.parts) >= entry.parts_total:
            entry.state = "delivered"

    def _retry_after(self, entry: Entry, seconds: float) -> None:
        entry.not_before = self._now() + seconds
        self._released(entry)

    def _failed(self, entry: Entry, error: str, uncertain: bool) -> None:
        entry.not_before = self._now() + self.first_pause * min(300, math.pow(2, entry.failures))
        entry.failures += 1
        entry.uncertain = entry.uncertain or uncertain
        entry.error = error
        self._released(entry)

    def _released(self, entry: Entry) -> None:
        entry.state, entry.in_flight = "pending", False

    def _moved(self, entry: Entry, chat_id: int) -> None:
        entry.target = {**entry.target, "chat_id": chat_id}
        entry.preview_message_id = None
        self._released(entry)

    def _dead(self, entry: Entry, error: str) -> None:
        entry.state, entry.error = "dead", error

    def _refused(self, entry: Entry, error: str) -> None:
        entry.state, entry.error = "dead", f"refused: {error}"

    def _delivered(self, entry: Entry) -> None:
        entry.state = "delivered"

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
