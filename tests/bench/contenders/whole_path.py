"""The whole path: gateway, queue, worker and stream as real processes, asked through /v1/chat/completions.

The engine alone answers the same chats right before, so that a machine whose pace changes does not decide the comparison.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.child import Emit, main, rss_mb
from bench.contenders.ours_engine import SLOTS, Engine
from bench.job import Job
from bench.sse import Answer, closed_loop_over_http, post
from bench.timeline import Timing, summary
from bench.workload import Chat
from platform_processes import Platform
from servers import started_postgres, started_valkey

from ai_assistant.engine.backends import load_runner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.model_package import load_package


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
                runner = load_runner(load_package(Path(job.model)), EngineConfig(num_slots=SLOTS), threads=job.threads)
                for in_flight, count in ((16, 16 if job.is_quick else 32), (1, 4 if job.is_quick else 8)):
                    # Both are new, so they know no conversation but the two that they are warmed with.
                    engine = Engine(runner, ignore_eos=False)
                    engine.run(chats[-2:], 2)
                    emit(f"alone-{in_flight}", summary(engine.run(chats[:count], in_flight)))
                    worker = platform.worker()
                    emit("load", {"rss_mb": rss_mb(worker.pid)})
                    closed_loop_over_http(chats[-2:], 2, answer_on(platform.port))
                    time.sleep(1)
                    client = sum(os.times()[:2])
                    timings = closed_loop_over_http(chats[:count], in_flight, answer_on(platform.port))
                    client = sum(os.times()[:2]) - client
                    seconds = max(timing.arrivals[-1] for timing in timings) - timings[0].submitted
                    values = {**summary(timings), "rss_mb": rss_mb(worker.pid), "client_cpu_percent": 100 * client / seconds}
                    emit(f"chats-{in_flight}", values)
                    worker.stop()
            finally:
                platform.close()


if __name__ == "__main__":
    main(run)
