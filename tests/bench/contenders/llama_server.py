"""llama.cpp's own server with continuous batching, one slot per chat in flight.

It is a stronger rival than the server of llama-cpp-python, which answers one request at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from bench.child import Emit, main, rss_mb
from bench.job import SINGLE_OUTPUT_TOKENS, SINGLE_PROMPT_TOKENS, Job
from bench.sse import Answer, closed_loop_over_http, post
from bench.timeline import Timing, single, summary
from bench.workload import Chat, prompt_of

from ai_assistant.standalone.launch import dying_with_parent

_TOKENS_PER_SLOT = 512
_START_SECONDS = 60.0


@contextlib.contextmanager
def serving(job: Job, slots: int) -> Iterator[tuple[int, int]]:
    """Starts a server; yields its port and its process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [job.program, "-m", job.model, "--host", "127.0.0.1", "--port", str(port), "-np", str(slots), "-cb"]
    command += ["-c", str(slots * _TOKENS_PER_SLOT), "-t", str(job.threads), "-tb", str(job.threads), "-cram", "0", "--no-ui"]
    with (Path(job.folder) / "llama-server.log").open("ab") as log:
        process = subprocess.Popen(dying_with_parent(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_until_ready(process, port)
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"llama-server ended with exit code {process.returncode}; see llama-server.log.")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200:
                return
        time.sleep(0.02)
    raise RuntimeError(f"llama-server was not ready after {_START_SECONDS:g} s; see llama-server.log.")


def answer_on(port: int) -> Answer:
    async def answer(chat: Chat, timing: Timing) -> None:
        body = {
            "prompt": chat.prompt_ids,
            "n_predict": chat.output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        events = []
        async for event in post(port, "/completion", body):
            timing.arrive(time.perf_counter())
            events.append(event)
        # The closing event brings no token but their sum; a character of several tokens arrives in one piece.
        timing.arrivals.pop()
        timing.num_tokens = json.loads(events[-1])["tokens_predicted"]

    return answer


def run_mixed(port: int, chats: list[Chat], in_flight: int) -> list[Timing]:
    timings = closed_loop_over_http(chats, in_flight, answer_on(port))
    for timing, chat in zip(timings, chats, strict=True):
        if timing.num_tokens != chat.output_tokens:
            raise RuntimeError(f"llama-server gave {timing.num_tokens} tokens where {chat.output_tokens} were asked for.")
    return timings


def run(job: Job, emit: Emit) -> None:
    chats = job.chats()
    warm_up = [Chat("", "", chats[0].prompt_ids, 4)]
    started = time.perf_counter()
    with serving(job, 1) as (port, process_id):
        emit("load", {"seconds": time.perf_counter() - started, "rss_mb": rss_mb(process_id)})
        run_mixed(port, warm_up, 1)
        if job.single_repeats:
            prompts = [prompt_of(chats, SINGLE_PROMPT_TOKENS, start) for start in range(job.single_repeats)]
            answers = [run_mixed(port, [Chat("", "", ids, SINGLE_OUTPUT_TOKENS)], 1)[0] for ids in prompts]
            emit("single", single(answers))
    for mixed in job.mixed:
        with serving(job, mixed.in_flight) as (port, process_id):
            run_mixed(port, warm_up, 1)
            client = _cpu_seconds()
            timings = run_mixed(port, chats[: mixed.num_chats], mixed.in_flight)
            client = _cpu_seconds() - client
            seconds = max(timing.arrivals[-1] for timing in timings) - timings[0].submitted
            values = {**summary(timings), "rss_mb": rss_mb(process_id), "client_cpu_percent": 100 * client / seconds}
            emit(mixed.measure, values)


def _cpu_seconds() -> float:
    return sum(os.times()[:2])


if __name__ == "__main__":
    main(run)
