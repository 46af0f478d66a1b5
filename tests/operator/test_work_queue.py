import asyncio

import pytest

from ai_assistant_operator.work_queue import LONGEST_PAUSE, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(clock, jitter=lambda: 0.5)


async def next_of(queue: WorkQueue) -> str | None:
    """The key whose turn it is at this moment."""
    task = asyncio.ensure_future(queue.get())
    for _ in range(3):
        await asyncio.sleep(0)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


async def test_a_key_waits_once_and_the_first_come_first(queue: WorkQueue) -> None:
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [await next_of(queue) for _ in range(3)] == ["a", "b", None]


async def test_a_key_is_never_worked_on_twice_at_once_and_nothing_is_lost(queue: WorkQueue) -> None:
    queue.add("a")
    assert await next_of(queue) == "a"
    queue.add("a")
    assert await next_of(queue) is None
    queue.done("a")
    assert await next_of(queue) == "a"
    queue.done("a")
    assert await next_of(queue) is None


async def test_the_earliest_of_several_times_counts(queue: WorkQueue, clock: Clock) -> None:
    queue.add("a", 10)
    queue.add("a", 3)
    queue.add("a", 20)
    assert await next_of(queue) is None
    clock.now += 3
    assert await next_of(queue) == "a"
    queue.done("a")
    clock.now += 100
    assert await next_of(queue) is None


async def test_failures_wait_longer_each_time_up_to_a_limit_and_success_forgets_them(queue: WorkQueue, clock: Clock) -> None:
    pauses = []
    for _ in range(12):
        queue.add("a")
        assert await next_of(queue) == "a"
        pauses.append(queue.done("a", failed=True))
    assert pauses[:4] == [0.5, 1, 2, 4]
    assert pauses[-1] == LONGEST_PAUSE
    queue.add("a")
    assert await next_of(queue) == "a"
    assert queue.done("a") is None
    queue.add("a")
    assert await next_of(queue) == "a"
    assert queue.done("a", failed=True) == 0.5
    clock.now += 0.6
    assert await next_of(queue) == "a"


async def test_others_do_not_wait_for_one_that_fails(queue: WorkQueue) -> None:
    queue.add("bad")
    assert await next_of(queue) == "bad"
    queue.add("good")
    queue.done("bad", failed=True)
    assert await next_of(queue) == "good"


async def test_what_is_forgotten_does_not_come(queue: WorkQueue, clock: Clock) -> None:
    queue.add("a")
    queue.add("b", 1)
    queue.forget("a")
    queue.forget("b")
    clock.now += 2
    assert await next_of(queue) is None


async def test_the_oldest_wait_shows_a_stuck_worker(queue: WorkQueue, clock: Clock) -> None:
    assert queue.oldest_seconds == 0
    queue.add("a")
    await next_of(queue)
    clock.now += 40
    queue.add("b")
    assert queue.oldest_seconds == 40
    queue.done("a")
    clock.now += 5
    assert queue.oldest_seconds == 5


async def test_waiting_workers_get_all_that_comes() -> None:
    queue = WorkQueue()
    done: list[str] = []

    async def work() -> None:
        while True:
            key = await queue.get()
            await asyncio.sleep(0)
            done.append(key)
            queue.done(key)

    workers = [asyncio.ensure_future(work()) for _ in range(3)]
    await asyncio.sleep(0)
    for index in range(20):
        queue.add(str(index))
    queue.add("late", 0.01)
    async with asyncio.timeout(5):
        while len(done) < 21:
            await asyncio.sleep(0.001)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert sorted(done) == sorted([*map(str, range(20)), "late"])
