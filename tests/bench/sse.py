"""A client for streamed answers that costs as little CPU as Python allows: the server under test has the same cores."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from bench.timeline import Timing
from bench.workload import Chat

Answer = Callable[[Chat, Timing], Awaitable[None]]
"""Asks for one chat and notes what arrives."""


async def post(port: int, path: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
    """The data of each server-sent event that answers a POST to loopback; raises RuntimeError for any status but 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not answer.startswith(b"http/1.1 200"):
            raise RuntimeError(f"POST {path}: {answer[:100]!r} {(await reader.read(500))!r}")
        pieces = _chunks(reader) if b"transfer-encoding: chunked" in answer else _reads(reader)
        rest = b""
        async for piece in pieces:
            *events, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
            for event in events:
                if event.startswith(b"data:"):
                    yield event[5:].strip()
                elif (at := event.find(b"\ndata:")) >= 0:
                    yield event[at + 6 :].strip()
    finally:
        writer.close()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline()).split(b";")[0], 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def _reads(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await reader.read(65536):
        yield piece


async def _closed_loop(chats: Sequence[Chat], in_flight: int, answer: Answer) -> list[Timing]:
    pending = deque(enumerate(chats))
    timings: dict[int, Timing] = {}

    async def ask() -> None:
        while pending:
            index, chat = pending.popleft()
            timings[index] = Timing(time.perf_counter())
            await answer(chat, timings[index])

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(ask())
    return [timings[index] for index in range(len(chats))]


def closed_loop_over_http(chats: Sequence[Chat], in_flight: int, answer: Answer) -> list[Timing]:
    """Runs all chats with `in_flight` of them at a time."""
    return asyncio.run(_closed_loop(chats, in_flight, answer))
