"""The live text of a task: a Redis Stream that its worker appends to and the gateway reads.

Redis may lose everything at any time; PostgreSQL has the checkpoint and the end. What the stream itself promises:
it starts at offset 0, and once an attempt has written its fence no lower attempt can append. Both are kept by one
script that every append goes through, so a worker that was declared lost and wakes up cannot reach the readers.
Offsets count Unicode code points.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ai_assistant.contracts import StreamEntry, stream_key

TTL_MS = 3_600_000
"""A stream that nobody has written to for an hour is dropped; readers then have PostgreSQL."""

APPEND = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last then
    for i = 1, #last[2], 2 do
        if last[2][i] == 'a' and tonumber(last[2][i + 1]) > tonumber(ARGV[1]) then return 'superseded' end
    end
elseif ARGV[2] ~= 'e' and ARGV[3] ~= '0' then
    return 'missing'
end
redis.call('XADD', KEYS[1], '*', 'a', ARGV[1], 'k', ARGV[2], 'o', ARGV[3], 't', ARGV[4], 'i', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 'ok'
"""

FENCE = """
local before = redis.call('XRANGE', KEYS[1], '-', '+')
local last = before[#before]
if last then
    for i = 1, #last[2], 2 do
        if last[2][i] == 'a' and tonumber(last[2][i + 1]) > tonumber(ARGV[1]) then return false end
    end
end
redis.call('XADD', KEYS[1], '*', 'a', ARGV[1], 'k', 'f', 'o', '0', 't', '', 'i', '')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return before
"""


class Appended(StrEnum):
    """What became of an append."""

    OK = "ok"
    MISSING = "missing"
    """The stream is gone: publish everything again from offset 0."""
    SUPERSEDED = "superseded"
    """A later attempt has fenced this one off."""


@dataclass(frozen=True)
class Entry:
    """One entry of a stream."""

    attempt: int
    kind: StreamEntry
    offset: int
    """Of the first code point of `text`."""
    text: str = ""
    ids: tuple[int, ...] = ()
    """Token ids whose arrival made `text` visible; they may be more or fewer than the text shows."""

    @classmethod
    def parse(cls, fields: dict[Any, Any]) -> "Entry":
        """Raises KeyError or ValueError for something that is not ours."""
        values = {decode(key): decode(value) for key, value in fields.items()}
        ids = tuple(int(item) for item in values["i"].split(",") if item)
        return cls(int(values["a"]), StreamEntry(values["k"]), int(values["o"]), values["t"], ids)

    def arguments(self) -> list[str | int]:
        """Arguments of the APPEND script."""
        return [self.attempt, self.kind.value, self.offset, self.text, ",".join(map(str, self.ids)), TTL_MS]


def decode(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class StreamText:
    """What a stream's entries add up to."""

    text: str = ""
    ids: tuple[int, ...] = ()


def assemble(entries: Iterable[Entry]) -> StreamText:
    """The text and ids that entries tell, dropping overlaps, and what comes after a gap.

    Ids are taken only with the text that they came with, in order; an entry that overlaps is a republication,
    which starts at 0 and carries all ids up to its end.
    """
    text = ""
    ids: list[int] = []
    attempt = 0
    for entry in entries:
        if entry.attempt < attempt:
            continue
        attempt = max(attempt, entry.attempt)
        if entry.kind is StreamEntry.RESET:
            text, ids = text[: entry.offset], []
        if entry.kind is not StreamEntry.TOKEN or entry.offset > len(text):
            continue
        if entry.offset == len(text) and (entry.offset > 0 or not ids):
            text += entry.text
            ids.extend(entry.ids)
        elif entry.offset == 0 and (len(entry.ids), len(entry.text)) > (len(ids), len(text)):
            text, ids = entry.text, list(entry.ids)
    return StreamText(text, tuple(ids))


class StreamWriter:
    """A worker's side of all its streams. Raises redis errors; the caller knows what to publish again."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    async def fence(self, task_id: uuid.UUID, attempt: int) -> StreamText | None:
        """Shut out lower attempts and return what they had written, as one atomic step. None: superseded already."""
        raw = await self._redis.eval(FENCE, 1, stream_key(task_id), attempt, TTL_MS)  # type: ignore[misc]
        if raw is None:
            return None
        entries = []
        for _, flat in raw:
            entries.append(Entry.parse(dict(zip(flat[::2], flat[1::2], strict=True))))
        return assemble(entries)

    async def append(self, entries: Sequence[tuple[uuid.UUID, Entry]]) -> list[Appended | RedisError]:
        """Append one entry to each of several streams in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        for task_id, entry in entries:
            pipeline.eval(APPEND, 1, stream_key(task_id), *entry.arguments())
        results = await pipeline.execute(raise_on_error=False)
        return [item if isinstance(item, RedisError) else Appended(decode(item)) for item in results]


async def read_stream(redis: "Redis", task_id: uuid.UUID) -> list[tuple[str, Entry]]:
    """All entries of a task's stream with their Redis ids; empty if there is none."""
    raw = await redis.xrange(stream_key(task_id))
    return [(decode(entry_id), Entry.parse(fields)) for entry_id, fields in raw]
