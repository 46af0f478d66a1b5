"""A second implementation of the worker's border: it claims, fences, streams, saves and finishes like the real one, and what
it says, how fast, and how it fails is a script."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ai_assistant.contracts import EVENTS_CHANNEL, QUEUES_CHANNEL, FinishReason, StreamEntry, TaskState
from ai_assistant.database.session import Database
from ai_assistant.errors import DatabaseUnavailableError
from ai_assistant.streams import Appended, Entry, StreamText, StreamWriter
from ai_assistant.tasks.claim import ClaimedTask, claim
from ai_assistant.tasks.finish import Outcome, finish
from ai_assistant.tasks.lease import Checkpoint, heartbeat

TOKENIZER = "fake"
ALPHABET = ["the ", "лиса ", "😀", "é", "\n\n", "river ", "`code` ", "走", "a", " "]


def default_pieces(task: ClaimedTask, count: int = 60) -> list[str]:
    """An answer that depends on the seed only."""
    digest = hashlib.sha256(str(task.sampling["seed"]).encode()).digest() * (count // 32 + 1)
    return [ALPHABET[digest[index] % len(ALPHABET)] for index in range(min(count, int(task.sampling["max_tokens"])))]


@dataclass
class Running:
    """One task that this worker works on."""

    task: ClaimedTask
    ids: list[int]
    text: str
    must_republish: bool
    cancelled: bool = False
    superseded: bool = False


@dataclass
class FakeWorker:
    database: Database
    redis_url: str
    name: str = "fake-1"
    assistant: str = "assistant"
    pieces: Callable[[ClaimedTask], list[str]] = default_pieces
    seconds_per_piece: float = 0.01
    lease_seconds: float = 2.0
    heartbeat_seconds: float = 0.2
    announces: bool = True
    """Appends END entries and publishes ends."""
    starts_over: bool = False
    """Cannot continue: drops what an earlier attempt had, and says so."""
    fails_with: dict[str, str] | None = None
    logprobs: Callable[[list[str]], list[dict[str, Any]]] | None = None
    running: dict[Any, Running] = field(default_factory=dict)
    claimed: list[ClaimedTask] = field(default_factory=list)
    _jobs: set["asyncio.Task[None]"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._redis = Redis.from_url(self.redis_url, socket_timeout=0.1, socket_connect_timeout=0.1, retry=Retry(NoBackoff(), 0))
        self._writer = StreamWriter(self._redis)
        self.awake = asyncio.Event()
        self.awake.set()

    async def __aenter__(self) -> "FakeWorker":
        self._spawn(self._claims())
        self._spawn(self._heartbeats())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.crash()
        await self._redis.aclose()

    async def crash(self) -> None:
        """Stop in the middle of everything and say nothing."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        self.running.clear()

    def freeze(self) -> None:
        self.awake.clear()

    def thaw(self) -> None:
        self.awake.set()

    def _spawn(self, work: Any) -> None:
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _claims(self) -> None:
        while True:
            await self.awake.wait()
            task = None
            with contextlib.suppress(DatabaseUnavailableError):
                async with self.database.session() as session:
                    task = await claim(session, assistant=self.assistant, worker=self.name, lease_seconds=self.lease_seconds)
            if task is None:
                await asyncio.sleep(0.02)
            else:
                self.claimed.append(task)
                if self.announces:
                    with contextlib.suppress(RedisError):
                        await self._redis.publish(QUEUES_CHANNEL, self.assistant)
                self._spawn(self._answer(task))

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self.heartbeat_seconds)
            await self.awake.wait()
            items = [
                Checkpoint(
                    id=item.task.id,
                    attempt=item.task.attempt,
                    ids=list(item.ids),
                    text=item.text,
                    tokenizer=TOKENIZER,
                    prompt_tokens=7,
                    completion_tokens=len(item.ids),
                )
                for item in self.running.values()
            ]
            if not items:
                continue
            with contextlib.suppress(DatabaseUnavailableError):
                async with self.database.session() as session:
                    held = await heartbeat(session, items, lease_seconds=self.lease_seconds)
                for saved in items:
                    if (item := self.running.get(saved.id)) is not None:
                        item.superseded = saved.id not in held
                        item.cancelled = held.get(saved.id, False)

    async def _answer(self, task: ClaimedTask) -> None:
        try:
            found = await self._writer.fence(task.id, task.attempt)
        except RedisError:
            found = StreamText()
        if found is None:
            return
        ids, text = list(task.checkpoint_ids or []), task.checkpoint_text
        if len(found.ids) > len(ids):
            ids, text = list(found.ids), found.text
        if self.starts_over and text:
            ids, text = [], ""
            with contextlib.suppress(RedisError):
                await self._writer.append([(task.id, Entry(task.attempt, StreamEntry.RESET, 0))])
        item = Running(task, ids, text, must_republish=found.text != text)
        self.running[task.id] = item
        state, reason = TaskState.SUCCEEDED, FinishReason.STOP
        pieces = self.pieces(task)
        if len(pieces) >= int(task.sampling["max_tokens"]):
            reason = FinishReason.LENGTH
        for index in range(len(item.ids), len(pieces)):
            await asyncio.sleep(self.seconds_per_piece)
            await self.awake.wait()
            if item.superseded:
                self.running.pop(task.id, None)
                return
            if item.cancelled:
                state, reason = TaskState.CANCELLED, FinishReason.CANCELLED
                break
            offset = len(item.text)
            item.ids.append(index)
            item.text += pieces[index]
            if not await self._publish(item, Entry(task.attempt, StreamEntry.TOKEN, offset, pieces[index], (index,))):
                self.running.pop(task.id, None)
                return
        if self.fails_with is not None:
            state, reason = TaskState.FAILED, FinishReason.ERROR
        await self._finish(item, state, reason, pieces)
        self.running.pop(task.id, None)

    async def _publish(self, item: Running, entry: Entry) -> bool:
        """False if a later attempt has fenced this one off."""
        everything = Entry(item.task.attempt, StreamEntry.TOKEN, 0, item.text, tuple(item.ids))
        try:
            done = (await self._writer.append([(item.task.id, everything if item.must_republish else entry)]))[0]
            if done is Appended.MISSING:
                done = (await self._writer.append([(item.task.id, everything)]))[0]
        except RedisError as error:
            done = error
        item.must_republish = isinstance(done, RedisError)
        return done is not Appended.SUPERSEDED

    async def _finish(self, item: Running, state: TaskState, reason: FinishReason, pieces: list[str]) -> None:
        outcome = Outcome(
            id=item.task.id,
            attempt=item.task.attempt,
            state=state,
            finish_reason=reason,
            text=item.text,
            ids=item.ids,
            tokenizer=TOKENIZER,
            prompt_tokens=7,
            completion_tokens=len(item.ids),
            error=self.fails_with,
            logprobs=self.logprobs(pieces) if self.logprobs and item.task.sampling.get("logprobs") is not None else None,
        )
        while True:
            try:
                async with self.database.session() as session:
                    finished = await finish(session, outcome)
                break
            except DatabaseUnavailableError:
                await asyncio.sleep(0.1)
        if finished is not None and self.announces:
            with contextlib.suppress(RedisError):
                await self._writer.append([(item.task.id, Entry(item.task.attempt, StreamEntry.END, len(item.text)))])
                await self._redis.publish(EVENTS_CHANNEL, str(item.task.id))
