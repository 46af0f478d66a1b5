"""The whole path: gateway, queue, worker and stream as real processes, asked through /v1/chat/completions."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.child import Emit, main, rss_mb
from bench.job import Job
from bench.sse import Answer, closed_loop_over_http, post
from bench.timeline import Timing, summary
from bench.workload import Chat
from platform_processes import Platform
from servers import started_postgres, started_valkey


def answer_on(port: int) -> Answer:
    async def answer(chat: Chat, timing: Timing) -> None:
        body = {
            "model": "assistant",
            "messages": chat.messages,
            "max_tokens": chat.output_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        usage: dict[str, Any] | None = None
        async for data in post(port, "/v1/chat/completions", body):
            if data == b"[DONE]":
                continue
            event = json.loads(data)
            usage = event.get("usage") or usage
            if any(choice["delta"].get("content") for choice in event["choices"]):
                timing.arrive(time.perf_counter())
        if usage is None or usage["prompt_tokens"] != len(chat.prompt_ids):
            raise RuntimeError(f"The platform read another prompt than the engine alone: {usage}, not {len(chat.prompt_ids)}.")
        timing.num_tokens = usage["completion_tokens"]

    return answer


def run(job: Job, emit: Emit) -> None:
    chats = job.chats()
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with started_postgres(folder / "postgres") as postgres, started_valkey(folder / "valkey") as valkey:
            platform = Platform(folder, postgres, valkey, Path(job.model), AI_ASSISTANT_LEASE_SECONDS="30")
            try:
                platform.gateway()
                worker = platform.worker()
                emit("load", {"rss_mb": rss_mb(worker.pid)})
                closed_loop_over_http(chats[:2], 2, answer_on(platform.port))
                time.sleep(1)
                for measure, count, in_flight in (
                    ("chats-1", 4 if job.is_quick else 8, 1),
                    ("chats-16", 16 if job.is_quick else 32, 16),
                ):
                    client = sum(os.times()[:2])
                    timings = closed_loop_over_http(chats[:count], in_flight, answer_on(platform.port))
                    client = sum(os.times()[:2]) - client
                    seconds = max(timing.arrivals[-1] for timing in timings) - timings[0].submitted
                    values = {**summary(timings), "rss_mb": rss_mb(worker.pid), "client_cpu_percent": 100 * client / seconds}
                    emit(measure, values)
            finally:
                platform.close()


if __name__ == "__main__":
    main(run)
