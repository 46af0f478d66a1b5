"""What PostgreSQL guarantees of a task, whoever dies: order, leases, fences, hand-overs. One statement at a time."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from ai_assistant import assistants, conversations, users
from ai_assistant.contracts import TaskState
from ai_assistant.database.models import Conversation, Message, Task
from ai_assistant.database.session import Database
from ai_assistant.tasks.cancel import cancel
from ai_assistant.tasks.claim import ClaimedTask
from ai_assistant.tasks.finish import Finished
from ai_assistant.tasks.lease import hand_back, let_go
from ai_assistant.tasks.sweep import sweep
from gateway_app import migrated_database
from task_store import Store, checkpoint


@pytest_asyncio.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    database = Database(await migrated_database(postgres_url))
    async with database.session() as session:
        await assistants.register(session, "assistant", instructions=None, defaults={})
        user = await users.get_or_create(session, "local")
    yield Store(database, user.id)
    await database.close()


async def test_each_task_is_claimed_once(store: Store) -> None:
    for _ in range(20):
        await store.ask()
    claimed = await asyncio.gather(*(store.claim(f"w{n}") for n in range(30)))
    ids = [task.id for task in claimed if task is not None]
    # one that finds all visible rows locked gets nothing and is no worse off: its token was one too many
    assert len(ids) == len(set(ids))
    while (task := await store.claim()) is not None:
        ids.append(task.id)
    assert len(set(ids)) == len(ids) == 20


async def test_turns_of_a_conversation_wait_for_each_other(store: Store) -> None:
    first = await store.ask("one")
    second = await store.ask("two", first.conversation_id)
    third = await store.ask("three", first.conversation_id)
    other = await store.ask("elsewhere")
    assert [(await store.must_claim()).id for _ in range(2)] == [first.id, other.id]
    assert await store.claim() is None
    running = await store.row(first.id)
    done = await store.finish(ClaimedTask(**(await claimed_again(store, running))))
    assert done is not None
    assert done.next_task_id == second.id
    claimed = await store.must_claim()
    assert claimed.id == second.id
    async with store.database.session() as session:
        line = await conversations.line_to(session, claimed.user_message_id or uuid.uuid4())
    assert [(item["role"], item["content"]) for item in line] == [("user", "one"), ("assistant", "answer"), ("user", "two")]
    await cancel_task(store, second.id)
    assert await store.claim() is None, "the second is being cancelled, not over"
    await store.finish(claimed)
    assert (await store.must_claim()).id == third.id


async def claimed_again(store: Store, task: Task) -> dict[str, Any]:
    """A ClaimedTask's fields from the row."""
    names = ClaimedTask.__dataclass_fields__
    values = {name: getattr(task, name) for name in names if hasattr(task, name)}
    return {**values, "seconds_left": 600.0, "waited_seconds": 0.0}


async def cancel_task(store: Store, task_id: uuid.UUID) -> None:
    async with store.database.session() as session:
        assert await cancel(session, task_id) is not None


async def test_an_expired_lease_only_permits_takeover(store: Store) -> None:
    await store.ask()
    first = await store.must_claim("w1")
    await store.expire(first.id)
    assert await store.claim("w2") is None, "no sweep has seen it yet"
    assert (await store.sweep()).lost == 0
    assert await store.claim("w2") is None, "its holder has the first word"
    # the holder lives: PostgreSQL was away, not the worker
    assert await store.beat(first, [1, 2]) == {first.id: False}
    await store.pass_grace(first.id)
    assert (await store.sweep()).lost == 0
    assert await store.claim("w2") is None
    assert (await store.row(first.id)).attempt == 1


async def test_a_lost_task_is_taken_over_and_the_old_attempt_shut_out(store: Store) -> None:
    await store.ask()
    first = await store.must_claim("w1")
    await store.beat(first, [1, 2, 3])
    await store.expire(first.id)
    await store.sweep()
    await store.pass_grace(first.id)
    assert (await store.sweep()).lost == 1
    second = await store.must_claim("w2")
    assert (second.id, second.attempt, second.takeovers, second.checkpoint_ids) == (first.id, 2, 1, [1, 2, 3])
    assert await store.beat(first, [9]) == {}
    assert await store.finish(first, "late") is None
    async with store.database.session() as session:
        assert not await hand_back(session, checkpoint(first, [9]), lease_seconds=10)
    assert (await store.row(first.id)).checkpoint_ids == [1, 2, 3]
    assert await store.finish(second, "in time") is not None
    assert await store.finish(second, "twice") is None


async def test_a_third_loss_is_the_end(store: Store) -> None:
    task = await store.ask()
    for _ in range(3):
        assert (await store.must_claim()).id == task.id
        await store.expire(task.id)
        await store.sweep()
        await store.pass_grace(task.id)
    swept = await store.sweep()
    assert swept.ended == [task.id]
    row = await store.row(task.id)
    assert (row.state, row.finish_reason, (row.error or {})["code"]) == ("failed", "error", "worker_lost")
    assert await store.claim() is None


async def test_hand_overs_do_not_count_as_losses(store: Store) -> None:
    task = await store.ask()
    for attempt in range(1, 6):
        claimed = await store.must_claim()
        assert (claimed.id, claimed.attempt, claimed.takeovers) == (task.id, attempt, 0)
        async with store.database.session() as session:
            assert await hand_back(session, checkpoint(claimed, [1] * attempt), lease_seconds=10)
    assert (await store.row(task.id)).checkpoint_ids == [1] * 5


async def test_a_cancelled_hand_over_keeps_its_text(store: Store) -> None:
    task = await store.ask()
    claimed = await store.must_claim()
    await cancel_task(store, task.id)
    async with store.database.session() as session:
        assert await hand_back(session, checkpoint(claimed, [1, 2]), lease_seconds=10)
    row = await store.row(task.id)
    assert (row.state, row.completion_tokens) == ("cancelled", 2)
    async with store.database.session() as session:
        message = await session.get(Message, row.answer_message_id)
    assert message is not None
    assert message.text == "xx"


async def test_cancel(store: Store) -> None:
    queued, running = await store.ask(), await store.ask()
    await cancel_task(store, queued.id)
    assert (await store.row(queued.id)).state == "cancelled"
    claimed = await store.must_claim()
    assert claimed.id == running.id
    await cancel_task(store, running.id)
    assert (await store.row(running.id)).state == "running"
    assert await store.beat(claimed) == {running.id: True}
    await store.expire(running.id)
    assert (await store.sweep()).ended == [running.id]
    assert (await store.row(running.id)).state == "cancelled"


async def test_a_deleted_conversation_counts_as_cancelled(store: Store) -> None:
    task = await store.ask()
    claimed = await store.must_claim()
    async with store.database.session() as session:
        conversation = await session.get(Conversation, task.conversation_id)
        assert conversation is not None
        await conversations.remove(session, conversation)
    assert await store.beat(claimed, [1, 2]) == {task.id: False}
    assert (await store.row(task.id)).checkpoint_text == "", "a worker that has not heard of it yet brings no text back"
    done = await store.finish(claimed)
    assert done is not None
    assert done.state is TaskState.CANCELLED
    assert await store.finish(claimed) == done
    row = await store.row(task.id)
    assert (row.checkpoint_text, row.checkpoint_ids, row.completion_tokens) == ("", None, 2)


async def test_deadlines(store: Store) -> None:
    waiting, running = await store.ask(), await store.ask()
    await store.change("UPDATE tasks SET deadline = now() WHERE id = :id", id=waiting.id)
    assert (await store.must_claim()).id == running.id
    await store.change("UPDATE tasks SET deadline = now() WHERE id = :id", id=running.id)
    assert (await store.sweep()).ended == [waiting.id], "a living worker ends its own task"
    row = await store.row(waiting.id)
    assert (row.state, (row.error or {})["code"]) == ("expired", "deadline_exceeded")


async def test_an_end_whose_commit_was_not_confirmed_is_written_again(store: Store) -> None:
    first = await store.ask("one")
    second = await store.ask("two", first.conversation_id)
    claimed = await store.must_claim()
    done = await store.finish(claimed)
    assert done == Finished(TaskState.SUCCEEDED, second.id)
    assert await store.finish(claimed) == done, "the worker that retries has to wake the next task and tell the readers"
    assert await store.finish(claimed, "something else") is None


async def test_a_successor_that_needs_no_prompt_keeps_its_token_count(store: Store) -> None:
    task = await store.ask()
    await store.beat(await store.must_claim(), [1])
    await store.expire(task.id)
    await store.sweep()
    await store.pass_grace(task.id)
    # the checkpoint was complete already
    await store.finish(await store.must_claim("w2"), prompt_tokens=None)
    assert (await store.row(task.id)).prompt_tokens == 3


async def test_a_sweep_is_in_nobodys_way(store: Store) -> None:
    running, queued = await store.ask("one"), await store.ask("two")
    held = await store.must_claim()
    assert held.id == running.id
    async with store.database.session() as session:
        assert await sweep(session, "assistant") is not None
        # not committed yet: Redis is being asked meanwhile, and may take its time
        async with asyncio.timeout(3):
            assert await store.beat(held) == {running.id: False}
            assert (await store.must_claim()).id == queued.id


async def test_a_restarted_worker_lets_go_of_what_it_held(store: Store) -> None:
    task, other = await store.ask(), await store.ask()
    assert (await store.must_claim("w1", lease=600)).id == task.id
    kept = await store.must_claim("w2", lease=600)
    async with store.database.session() as session:
        assert await let_go(session, "w1") == 1
    assert await store.claim("w3") is None, "a worker of the same name may be alive"
    await store.pass_grace(task.id)
    assert (await store.must_claim("w3")).id == task.id
    assert kept.id == other.id
    assert await store.claim("w4") is None
