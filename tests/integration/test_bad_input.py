"""What people and programs get wrong: a clear error early, nothing queued, nothing lost. Against real processes."""

import json
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from platform_processes import Platform
from servers import psql

REFUSED: list[tuple[str, bytes, int, str]] = [
    ("empty message", b'{"message": ""}', 422, "invalid_request"),
    ("blank message", b'{"message": " \\n\\t "}', 422, "invalid_request"),
    ("no message", b"{}", 422, "invalid_request"),
    ("message of 1 MB", json.dumps({"message": "a" * 1_000_000}).encode(), 413, "body_too_large"),
    ("message that is too long", json.dumps({"message": "a" * 200_000}).encode(), 413, "body_too_large"),
    ("number as message", b'{"message": 7}', 422, "invalid_request"),
    ("list as body", b"[]", 422, "invalid_request"),
    ("text as max_tokens", b'{"message": "a", "max_tokens": "many"}', 422, "invalid_request"),
    ("max_tokens 0", b'{"message": "a", "max_tokens": 0}', 422, "invalid_request"),
    ("temperature too high", b'{"message": "a", "temperature": 99}', 422, "invalid_request"),
    ("unknown field", b'{"message": "a", "temprature": 0}', 422, "invalid_request"),
    ("unknown assistant", b'{"message": "a", "assistant": "nobody"}', 404, "assistant_not_found"),
    ("unknown conversation", f'{{"message": "a", "conversation_id": "{uuid.uuid4()}"}}'.encode(), 404, "conversation_not_found"),
    ("conversation that is no id", b'{"message": "a", "conversation_id": "x"}', 422, "invalid_request"),
    ("NUL", b'{"message": "a\\u0000b"}', 422, "invalid_request"),
    ("half a surrogate pair", b'{"message": "a\\ud800b"}', 422, "invalid_request"),
    ("not JSON", b'{"message": ', 400, "malformed_body"),
    ("invalid UTF-8", b'{"message": "\xff\xfe"}', 400, "malformed_body"),
    ("empty body", b"", 422, "invalid_request"),
]


def test_table(platform: Platform) -> None:
    platform.gateway()
    post = platform.client.post
    headers = {"Content-Type": "application/json"}
    wrong = []
    for name, body, status, code in REFUSED:
        response = post("/api/chat", content=body, headers=headers)
        error: dict[str, Any] = response.json().get("error", {})
        if (response.status_code, error.get("code")) != (status, code) or len(error.get("message", "")) < 10:
            wrong.append((name, response.status_code, response.text[:200]))
    assert not wrong
    for value in ("NaN", "Infinity", "-Infinity"):
        response = post("/api/chat", content=f'{{"message": "a", "temperature": {value}}}'.encode(), headers=headers)
        assert response.status_code in (400, 422), (value, response.text)
    assert platform.client.get(f"/api/status/{uuid.uuid4()}").json()["error"]["code"] == "task_not_found"
    assert platform.client.get(f"/api/chat/{uuid.uuid4()}/stream").status_code == 404
    assert platform.client.delete(f"/api/chat/{uuid.uuid4()}").status_code == 404
    assert platform.client.get("/api/status/not-an-id").status_code in (404, 422)
    assert platform.client.get("/api/nothing").json()["error"]["code"] == "not_found"
    assert psql(platform.database_url, "SELECT count(*) FROM tasks") == "0"
    assert psql(platform.database_url, "SELECT count(*) FROM messages") == "0"


def test_prompt_over_the_context(platform: Platform) -> None:
    platform.gateway()
    platform.worker()
    long = "one two three four five six seven eight nine ten " * 1000
    status = platform.answer(long)
    assert status["status"] == "failed"
    assert status["error"]["code"] == "prompt_too_long"
    assert "tokens" in status["error"]["message"]
    body = {"model": "assistant", "messages": [{"role": "user", "content": long}]}
    response = platform.client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    # the history of a long conversation is trimmed instead
    opening = platform.ask("My name is Anna.", max_tokens=4)
    for _ in range(3):
        text = "word " * 2500
        end = platform.answer(text, conversation_id=opening["conversation_id"], max_tokens=4)
        assert end["status"] == "succeeded", end
    assert end["usage"]["prompt_tokens"] <= 8192


def test_broken_model_package(platform: Platform, tmp_path: Path, demo_package: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(demo_package, broken)
    data = next(broken.glob("*.data"))
    with data.open("r+b") as file:
        file.truncate(data.stat().st_size // 2)
    result = subprocess.run(
        [sys.executable, "-m", "ai_assistant", "worker"],
        env=platform.environment(AI_ASSISTANT_MODEL_PACKAGE=str(broken)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert data.name in last
    assert "Traceback" not in result.stderr


def test_postgres_away_at_start(platform: Platform) -> None:
    platform.postgres.stop()
    try:
        gateway = platform.gateway(wait=False)
        deadline = time.monotonic() + 30
        while True:
            try:
                assert platform.client.get("/livez").status_code == 200
                break
            except httpx.ConnectError:
                assert gateway.is_running
                assert time.monotonic() < deadline
                time.sleep(0.1)
        response = platform.client.post("/api/chat", json={"message": "Hello!"})
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "database_unavailable"
        assert int(response.headers["Retry-After"]) >= 1
        assert platform.client.get("/readyz").status_code == 503
    finally:
        platform.postgres.start()
    gateway.wait_ready()
    platform.worker()
    assert platform.answer("Hello!", max_tokens=8, temperature=0)["status"] == "succeeded"


@pytest.mark.parametrize("name", ["../../etc/passwd", "x" * 300, "a b"])
def test_odd_assistant_names(platform: Platform, name: str) -> None:
    platform.gateway()
    response = platform.client.post("/api/chat", json={"message": "a", "assistant": name})
    assert response.status_code in (404, 422)
