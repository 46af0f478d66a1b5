"""The whole path with a model server elsewhere: streams, cancel, takeover and accounting are those of the engine."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from platform_processes import Platform, Process
from redis.asyncio import Redis
from remote_server import KEY, RemoteServer, Reply
from servers import Server, psql

from ai_assistant.contracts import StreamEntry
from ai_assistant.streams import Appended, Entry, StreamText, StreamWriter

TALE = tuple(f"word{number} " for number in range(60))
OTHER = (*TALE[:20], *(f"other{number} " for number in range(30)))


class RemotePlatform(Platform):
    """A platform whose workers ask a model server."""

    server: RemoteServer

    def worker(self, name: str = "worker-1", **more: str) -> Process:
        return super().worker(name, AI_ASSISTANT_REMOTE_URL=self.server.url, AI_ASSISTANT_REMOTE_API_KEY=KEY, **more)

    def worker_page(self, path: str) -> httpx.Response:
        """A page of the newest worker."""
        worker = self._processes[-1]
        return httpx.get(f"http://127.0.0.1:{worker._environment['AI_ASSISTANT_WORKER_METRICS_PORT']}{path}", timeout=5)


@pytest.fixture
def remote(tmp_path: Path, postgres: Server, valkey: Server, remote_server: RemoteServer) -> Iterator[RemotePlatform]:
    made = RemotePlatform(tmp_path, postgres, valkey, None)
    made.server = remote_server
    try:
        yield made
        assert KEY not in "".join(path.read_text() for path in tmp_path.glob("*.log"))
    finally:
        made.close()


def wait_until(holds: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_streams_and_accounts(remote: RemotePlatform) -> None:
    remote.server.reply = Reply(delay=0.05)
    remote.gateway()
    remote.worker()
    task = remote.ask("Tell me of the fox.", max_tokens=50, temperature=0.5)
    reader = remote.read(task["task_id"])
    final = reader.finish()
    assert final["text"] == "The fox crossed the river and went home."
    assert final["usage"] == {"prompt_tokens": 21, "completion_tokens": 9}
    assert sum(name == "token" for name, _ in reader.events) >= 4, "it comes as it is written"
    second = remote.answer("And then?", conversation_id=task["conversation_id"])
    assert second["status"] == "succeeded"
    assert [message["role"] for message in remote.server.requests[1].body["messages"]] == ["user", "assistant", "user"]
    assert remote.server.requests[1].body["messages"][1]["content"] == final["text"]
    metrics = remote.worker_page("/metrics").text
    assert 'ai_assistant_completion_tokens_total{assistant="assistant"} 18.0' in metrics
    assert 'ai_assistant_prompt_tokens_total{assistant="assistant"} 42.0' in metrics
    assert 'ai_assistant_time_to_first_token_seconds_count{assistant="assistant"} 2.0' in metrics
    assert 'ai_assistant_engine_slots{assistant="assistant"} 16.0' in metrics


def test_cancel_closes_the_connection(remote: RemotePlatform) -> None:
    remote.server.reply = Reply(pieces=TALE, delay=0.2)
    remote.gateway()
    remote.worker()
    task = remote.ask("Tell me a tale.")
    reader = remote.read(task["task_id"]).wait_for(10)
    cancelled_at = time.monotonic()
    assert remote.client.delete(f"/api/chat/{task['task_id']}").json()["status"] == "cancelled"
    wait_until(lambda: remote.server.requests[0].left_at is not None)
    assert (remote.server.requests[0].left_at or 0) - cancelled_at < 1
    final = reader.finish()
    assert "".join(TALE).startswith(final["text"])
    assert final["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("words", [TALE, OTHER], ids=["the same again", "another answer"])
def test_killed_worker(remote: RemotePlatform, words: tuple[str, ...]) -> None:
    """The successor asks again; the end is exactly one whole answer."""
    remote.server.replies.append(Reply(pieces=TALE, delay=0.1))
    remote.server.reply = Reply(pieces=words, delay=0.01)
    remote.gateway()
    first = remote.worker("worker-1")
    task = remote.ask("Tell me a tale.")
    # far enough for the second answer to differ from what has been read
    reader = remote.read(task["task_id"]).wait_for(len("".join(TALE[:25])))
    first.kill()
    remote.worker("worker-2")
    final = reader.finish()
    assert (final["status"], final["text"]) == ("succeeded", "".join(words))
    assert reader.resets == (0 if words == TALE else 1)
    assert final["usage"]["completion_tokens"] == len(words)
    assert psql(remote.database_url, f"SELECT attempt FROM tasks WHERE id = '{task['task_id']}'") == "2"
    assert len(remote.server.requests) == 2


def test_drained_worker_hands_back(remote: RemotePlatform) -> None:
    remote.server.replies.append(Reply(pieces=TALE, delay=0.1))
    remote.server.reply = Reply(pieces=TALE)
    remote.gateway()
    first = remote.worker("worker-1")
    reader = remote.read(remote.ask("Tell me a tale.")["task_id"]).wait_for(20)
    assert first.stop() == 0
    assert remote.server.requests[0].left_at is not None
    remote.worker("worker-2")
    assert reader.finish()["text"] == "".join(TALE)
    assert reader.resets == 0


def test_an_outage_is_waited_through(remote: RemotePlatform) -> None:
    remote.gateway()
    worker = remote.worker()
    assert remote.worker_page("/readyz").status_code == 200
    remote.server.stop()
    task = remote.ask("Are you there?")
    wait_until(lambda: remote.worker_page("/readyz").status_code == 503, 20)
    page = remote.worker_page("/readyz").text
    assert f"the model server at {remote.server.url} is of no use: no connection" in page
    assert remote.worker_page("/livez").status_code == 200
    remote.server.start()
    assert remote.status(task["task_id"], wait=60)["status"] == "succeeded"
    assert worker.is_running
    wait_until(lambda: remote.worker_page("/readyz").status_code == 200)


def test_a_refused_key_is_a_sentence(remote: RemotePlatform) -> None:
    remote.server.reply = Reply(status=401, error={"message": f"Incorrect API key provided: {KEY}"})
    remote.gateway()
    remote.worker()
    final = remote.answer("Hello")
    assert final["status"] == "failed"
    assert final["error"] == {
        "code": "model_server_refused",
        "message": "The model server refuses the request; tell the operator.",
    }
    assert "AI_ASSISTANT_REMOTE_API_KEY" in remote.worker_page("/readyz").text


def test_cancelled_after_its_worker_was_lost_keeps_text_and_count(remote: RemotePlatform) -> None:
    remote.server.reply = Reply(pieces=TALE, delay=0.1)
    remote.gateway()
    worker = remote.worker()
    task = remote.ask("Tell me a tale.")
    reader = remote.read(task["task_id"]).wait_for(100)
    time.sleep(1.5)  # for a checkpoint
    worker.kill()
    remote.client.delete(f"/api/chat/{task['task_id']}")
    final = reader.finish()
    assert final["status"] == "cancelled"
    assert "".join(TALE).startswith(final["text"])
    assert final["usage"]["completion_tokens"] >= 10


def test_another_ai_assistant_as_the_model_server(
    platform: Platform, tmp_path: Path, postgres: Server, own_valkey: Server
) -> None:
    """Our own /v1 pings while tasks wait, counts tokens, and stops when its client goes."""
    platform.gateway()
    platform.worker()
    folder = tmp_path / "front"
    folder.mkdir()
    front = Platform(folder, postgres, own_valkey, None)
    try:
        front.gateway()
        front.worker(AI_ASSISTANT_REMOTE_URL=f"{platform.url}/v1")
        question = "What is the capital of France?"
        direct = platform.answer(question, temperature=0)
        reader = front.read(front.ask(question, temperature=0)["task_id"])
        final = reader.finish()
        assert final["text"] == direct["text"] == "The capital of France is Paris."
        assert final["usage"] == direct["usage"]
        task = front.ask("Tell me a long story about a fox.", max_tokens=400)
        front.read(task["task_id"]).wait_for(40)
        front.client.delete(f"/api/chat/{task['task_id']}")
        count = "SELECT count(*) FROM tasks WHERE state = 'cancelled'"
        wait_until(lambda: psql(platform.database_url, count) == "1")
    finally:
        front.close()


async def test_a_reset_cannot_begin_a_stream(valkey: Server) -> None:
    """Who reads the stream from its start would miss what stands before it."""
    redis: Any = Redis.from_url(valkey.url)
    writer, task_id = StreamWriter(redis), uuid.uuid4()

    async def append(kind: StreamEntry, offset: int, words: str = "") -> object:
        return (await writer.append([(task_id, Entry(1, kind, offset, words))]))[0]

    assert await append(StreamEntry.RESET, 5) is Appended.MISSING
    assert await append(StreamEntry.RESET, 0) is Appended.OK
    assert await append(StreamEntry.TOKEN, 0, "a cow") is Appended.OK
    assert await append(StreamEntry.RESET, 2) is Appended.OK
    assert await append(StreamEntry.TOKEN, 2, "fox") is Appended.OK
    assert await writer.fence(task_id, 2) == StreamText("a fox")
    await redis.aclose()
