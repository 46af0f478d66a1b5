"""Whatever dies in mid-answer, a reader sees each character once, in order, and the answer is the undisturbed one."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from platform_processes import LEASE_SECONDS, Platform

STORY: dict[str, Any] = {"message": "Tell me a long story about a fox and a river.", "max_tokens": 160}
GREEDY = {"temperature": 0, "seed": 7}
SAMPLED = {"temperature": 0.8, "top_p": 0.95, "seed": 7}


def undisturbed(platform: Platform, **sampling: Any) -> str:
    """The same request while nothing fails."""
    status = platform.answer(**STORY, **sampling)
    assert status["status"] == "succeeded", status
    assert len(status["text"]) > 300
    return str(status["text"])


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "temperature 0.8"])
def test_killed_worker(platform: Platform, sampling: dict[str, Any]) -> None:
    platform.gateway()
    first = platform.worker("worker-1")
    expected = undisturbed(platform, **sampling)
    task = platform.ask(**STORY, **sampling)
    reader = platform.read(task["task_id"]).wait_for(120)
    first.kill()
    platform.worker("worker-2")
    final = reader.finish()
    assert final["status"] == "succeeded"
    assert final["text"] == expected
    assert reader.resets == 0


def test_killed_worker_that_restarts_does_not_wait_for_its_lease(platform: Platform) -> None:
    environment = {"AI_ASSISTANT_LEASE_SECONDS": "300"}
    platform.gateway()
    worker = platform.worker("worker-1", **environment)
    expected = undisturbed(platform, **GREEDY)
    reader = platform.read(platform.ask(**STORY, **GREEDY)["task_id"]).wait_for(100)
    worker.kill()
    worker.start()
    assert reader.finish()["text"] == expected
    assert reader.resets == 0


def test_frozen_worker_wakes_and_writes_late(platform: Platform) -> None:
    platform.gateway()
    first = platform.worker("worker-1")
    expected = undisturbed(platform, **SAMPLED)
    task = platform.ask(**STORY, **SAMPLED)
    reader = platform.read(task["task_id"]).wait_for(100)
    first.freeze()
    platform.worker("worker-2")
    # longer than the lease, the sweep's two looks and a few tokens of the successor
    seen = len(reader.text)
    reader.wait_for(seen + 60, seconds=60)
    first.wake()
    final = reader.finish()
    assert final["text"] == expected
    assert reader.resets == 0
    # the first worker noticed, wrote nothing and is of use again
    time.sleep(2)
    assert platform.status(task["task_id"])["text"] == expected
    assert first.is_running
    assert platform.answer("What is the capital of France?", temperature=0)["status"] == "succeeded"


def test_valkey_restarted(platform: Platform) -> None:
    platform.gateway()
    platform.worker()
    expected = undisturbed(platform, **GREEDY)
    reader = platform.read(platform.ask(**STORY, **GREEDY)["task_id"]).wait_for(100)
    platform.valkey.restart()
    assert reader.finish()["text"] == expected
    assert reader.resets == 0
    assert platform.answer("Hello!", temperature=0, max_tokens=8)["status"] == "succeeded"


def test_valkey_emptied(platform: Platform) -> None:
    platform.gateway()
    platform.worker()
    expected = undisturbed(platform, **GREEDY)
    task = platform.ask(**STORY, **GREEDY)
    reader = platform.read(task["task_id"]).wait_for(100)
    platform.valkey.flush()
    late_reader = platform.read(task["task_id"])
    assert reader.finish()["text"] == expected
    assert late_reader.finish()["text"] == expected
    assert reader.resets == late_reader.resets == 0


def test_valkey_emptied_and_worker_killed(platform: Platform) -> None:
    platform.gateway()
    first = platform.worker("worker-1")
    expected = undisturbed(platform, **SAMPLED)
    reader = platform.read(platform.ask(**STORY, **SAMPLED)["task_id"]).wait_for(150)
    platform.valkey.flush()
    first.kill()
    platform.worker("worker-2")
    assert reader.finish()["text"] == expected
    assert reader.resets == 0


def test_gateway_restarted(platform: Platform) -> None:
    gateway = platform.gateway()
    platform.worker()
    expected = undisturbed(platform, **GREEDY)
    reader = platform.read(platform.ask(**STORY, **GREEDY)["task_id"]).wait_for(100)
    gateway.stop()
    gateway.start()
    assert reader.finish()["text"] == expected
    assert reader.connections >= 2
    assert reader.resets == 0


def test_gateway_killed(platform: Platform) -> None:
    gateway = platform.gateway()
    platform.worker()
    expected = undisturbed(platform, **GREEDY)
    reader = platform.read(platform.ask(**STORY, **GREEDY)["task_id"]).wait_for(100)
    gateway.kill()
    gateway.start()
    assert reader.finish()["text"] == expected


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_postgres_away(platform: Platform, how: str) -> None:
    """All leases run out meanwhile; their holder goes on all the same and no attempt is burnt."""
    platform.gateway()
    platform.worker()
    expected = undisturbed(platform, **GREEDY)
    task = platform.ask(**{**STORY, "max_tokens": 160}, **GREEDY)
    reader = platform.read(task["task_id"]).wait_for(60)
    if how == "stopped":
        platform.postgres.stop()
    else:
        platform.postgres.pause()
    try:
        response = platform.client.post("/api/chat", json={"message": "Are you there?"})
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "database_unavailable"
        time.sleep(4 * LEASE_SECONDS if how == "frozen" else 30)
    finally:
        if how == "stopped":
            platform.postgres.start()
        else:
            platform.postgres.resume()
    assert reader.finish()["text"] == expected
    assert reader.resets == 0
    assert attempt_of(platform, task["task_id"]) == 1
    assert platform.answer("Hello!", temperature=0, max_tokens=8)["status"] == "succeeded"


def attempt_of(platform: Platform, task_id: str) -> int:
    from servers import psql

    return int(psql(platform.database_url, f"SELECT attempt FROM tasks WHERE id = '{task_id}'"))


def test_third_lost_worker_fails_the_task(platform: Platform) -> None:
    """A task that kills its workers does not do so for ever."""
    platform.gateway()
    task = platform.ask(**{**STORY, "max_tokens": 400}, **GREEDY)
    reader = platform.read(task["task_id"])
    seen = saved = 0
    for number in range(3):
        worker = platform.worker(f"worker-{number}")
        saved = len(reader.wait_for(seen + 30).text)
        time.sleep(1.5)  # for the checkpoint of what has been read
        worker.kill()
        time.sleep(0.5)  # for the last words of this one, which are not the next one's first
        seen = len(reader.text)
    final = reader.finish()
    assert final["status"] == "failed"
    assert final["error"]["code"] == "worker_lost"
    assert len(final["text"]) >= saved


def test_drained_worker_hands_back(platform: Platform) -> None:
    platform.gateway()
    first = platform.worker("worker-1")
    expected = undisturbed(platform, **SAMPLED)
    task = platform.ask(**STORY, **SAMPLED)
    reader = platform.read(task["task_id"]).wait_for(100)
    started = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - started < 10
    platform.worker("worker-2")
    assert reader.finish()["text"] == expected
    assert attempt_of(platform, task["task_id"]) == 2


def test_closed_reader_does_not_cancel(platform: Platform) -> None:
    platform.gateway()
    platform.worker()
    task = platform.ask(**STORY, **GREEDY)
    reader = platform.read(task["task_id"]).wait_for(30)
    reader.close()
    reader.join(10)
    assert platform.status(task["task_id"], wait=60)["status"] == "succeeded"


def test_cancel_stops_compute(platform: Platform) -> None:
    platform.gateway()
    platform.worker()
    task = platform.ask(**{**STORY, "max_tokens": 2000}, temperature=0.8, seed=1)
    reader = platform.read(task["task_id"]).wait_for(60)
    started = time.monotonic()
    status = platform.client.delete(f"/api/chat/{task['task_id']}").json()
    assert status["status"] == "cancelled", status
    assert time.monotonic() - started <= 1.5
    final = reader.finish()
    assert final["status"] == "cancelled"
    assert len(final["text"]) >= 60
    assert final["usage"]["completion_tokens"] > 0
    worker_metrics = platform.client.get(f"{platform.internal_url}/metrics").text
    assert 'ai_assistant_tasks{assistant="assistant",state="running"} 0.0' in worker_metrics


def test_two_posts_in_one_conversation(platform: Platform) -> None:
    """They are answered one after the other, and the second knows the first."""
    platform.gateway()
    opening = platform.ask("My name is Anna.", temperature=0, max_tokens=16)
    with ThreadPoolExecutor(2) as pool:
        conversation = {"conversation_id": opening["conversation_id"], "temperature": 0, "max_tokens": 16}
        futures = [pool.submit(platform.ask, text, **conversation) for text in ("I like tea.", "What is my name?")]
        tasks = [future.result() for future in futures]
    platform.worker()
    ends = [platform.status(task["task_id"], wait=60) for task in [opening, *tasks]]
    assert all(end["status"] == "succeeded" for end in ends), ends
    # Who came first is decided by the conversation, not by the clock of two requests at the same moment.
    first, second = sorted(ends[1:], key=lambda end: end["started_at"])
    assert first["finished_at"] <= second["started_at"]
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"] + first["usage"]["completion_tokens"] // 2


def test_redis_away(platform: Platform) -> None:
    """Accepted all the same; who reads sees the text from the checkpoint; what waits is answered when Redis is back."""
    platform.gateway()
    platform.worker()
    expected = undisturbed(platform, **GREEDY)
    reader = platform.read(platform.ask(**STORY, **GREEDY)["task_id"]).wait_for(40)
    platform.valkey.stop()
    try:
        started = time.monotonic()
        waiting = platform.ask("What is the capital of France?", temperature=0)
        assert time.monotonic() - started < 2
        seen = len(reader.text)
        reader.wait_for(seen + 50, seconds=20)
        assert reader.finish()["text"] == expected
    finally:
        platform.valkey.start()
    assert "Paris" in platform.status(waiting["task_id"], wait=60)["text"]
