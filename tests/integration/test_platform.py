"""The whole path with the real model: HTTP, queue, worker, engine and back."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import openai
from platform_processes import Platform

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "smollm2_reference.json").read_text())
EOS_TEXT = "<|im_end|>"


def complete(platform: Platform, case: dict[str, Any]) -> Any:
    return platform.client.post(
        "/v1/chat/completions",
        json={
            "model": "assistant",
            "messages": case["messages"],
            "temperature": 0,
            "max_tokens": len(case["greedy_ids"]),
        },
    ).json()


def test_answers_are_the_reference_ones_alone_and_together(platform: Platform) -> None:
    platform.gateway()
    platform.worker()
    cases = REFERENCE["cases"]
    expected = [case["greedy_text"].removesuffix(EOS_TEXT) for case in cases]
    alone = [complete(platform, case) for case in cases]
    assert [answer["choices"][0]["message"]["content"] for answer in alone] == expected
    assert [answer["usage"]["prompt_tokens"] for answer in alone] == [len(case["prompt_ids"]) for case in cases]
    assert [answer["usage"]["completion_tokens"] for answer in alone] == [len(case["greedy_ids"]) for case in cases]
    assert [answer["choices"][0]["finish_reason"] for answer in alone] == [
        "stop" if case["greedy_text"].endswith(EOS_TEXT) else "length" for case in cases
    ]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda index: complete(platform, cases[index % len(cases)]), range(16)))
    texts = [answer["choices"][0]["message"]["content"] for answer in together]
    assert texts == [expected[index % len(cases)] for index in range(16)]


def test_openai_sdk(platform: Platform) -> None:
    platform.gateway()
    platform.worker()
    messages: Any = [{"role": "user", "content": "What is the capital of France?"}]
    with openai.OpenAI(base_url=f"{platform.url}/v1", api_key="any", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="assistant", messages=messages, temperature=0, logprobs=True, top_logprobs=2
        )
        assert answer.choices[0].message.content == "The capital of France is Paris."
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.content is not None
        shown = [item for item in logprobs.content if item.token != EOS_TEXT]
        assert "".join(item.token for item in shown) == "The capital of France is Paris."
        assert all(item.logprob <= 0 and len(item.top_logprobs) == 2 for item in logprobs.content)
        assert all(item.top_logprobs[0].token == item.token for item in logprobs.content)
        chunks = list(
            client.chat.completions.create(
                model="assistant",
                messages=messages,
                temperature=0,
                stop=["Paris"],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "The capital of France is "
    assert chunks[-1].usage is not None


def test_one_request_id_and_the_numbers(platform: Platform) -> None:
    platform.gateway()
    worker = platform.worker()
    body = {"message": "What is the capital of France?", "temperature": 0}
    response = platform.client.post("/api/chat", json=body, headers={"X-Request-ID": "trace-me-42"})
    assert response.headers["X-Request-ID"] == "trace-me-42"
    status = platform.status(response.json()["task_id"], wait=60)
    assert status["text"] == "The capital of France is Paris."
    lines = [json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
    ours = [line for line in lines if line.get("request_id") == "trace-me-42"]
    assert {line["task_id"] for line in ours if "task_id" in line} == {status["task_id"]}
    assert not any("capital" in json.dumps(line) for line in lines), "what people write is not for the log"
    gateway = platform.client.get(f"{platform.internal_url}/metrics").text
    for name in ("queue_depth", "tasks", "queue_oldest_seconds", "http_requests_total"):
        assert f"ai_assistant_{name}{{" in gateway
    assert platform.client.get("/metrics").status_code == 404


def test_a_free_slot_is_filled_at_once(platform: Platform) -> None:
    """Celery's loop by itself looks once a second whether a slot is free again."""
    platform.gateway()
    platform.worker(AI_ASSISTANT_SLOTS="1")
    asked = [platform.client.post("/api/chat", json={"message": f"Say {n}.", "max_tokens": 1}).json() for n in range(12)]
    done = [platform.client.get(f"/api/status/{item['task_id']}", params={"wait": 30}).json() for item in asked]
    ends = [datetime.fromisoformat(item["finished_at"]) for item in done]
    starts = [datetime.fromisoformat(item["started_at"]) for item in done]
    pauses = [(start - end).total_seconds() for end, start in zip(ends, starts[1:], strict=False)]
    assert median(pauses) < 0.25, pauses
