"""A model server that speaks OpenAI's chat completions over real HTTP, and misbehaves as it is told."""

import asyncio
import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

WORDS = ("The ", "fox ", "crossed ", "the ", "river ", "and ", "went ", "home", ".")
KEY = "sk-very-secret-4711"


@dataclass
class Reply:
    """How one request is answered."""

    pieces: Sequence[str] = WORDS
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: Any = None
    """With a status: the body's `error`; with 200: an error in the place of the piece `at`."""
    first_delay: float = 0.0
    delay: float = 0.0
    at: int | None = None
    """The piece before which `fault` happens."""
    fault: str = ""
    """`drop`, `hang`, `garbage`, `end` (without a last word) or `error`."""
    finish_reason: str | None = "stop"
    has_usage: bool = True
    streams: bool = True
    raw: bytes | None = None
    """In place of the stream."""
    thoughts: Sequence[str] = ()


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float
    left_at: float | None = None
    """When the client closed the connection before the end."""
    sent: int = 0


class RemoteServer:
    """Answers with `replies` in turn, then with `reply`. Its own thread and event loop."""

    def __init__(self) -> None:
        self.models = ["tiny"]
        self.model_fields: dict[str, Any] = {}
        self.models_status = 200
        self.reply = Reply()
        self.replies: deque[Reply] = deque()
        self.requests: list[Request] = []
        self.probes = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Refuse connections, and cut those that there are."""

        async def stop() -> None:
            assert self._server is not None
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()

        self._call(stop())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            path = first.split()[1]
            if path.endswith("/models"):
                self.probes += 1
                data = [{"id": name, "object": "model", **self.model_fields} for name in self.models]
                self._write(writer, self.models_status, {}, json.dumps({"object": "list", "data": data}).encode())
            else:
                await self._complete(Request(path, headers, json.loads(body), time.monotonic()), reader, writer)
            await writer.drain()
        self._writers.discard(writer)
        writer.close()

    @staticmethod
    def _write(writer: asyncio.StreamWriter, status: int, headers: dict[str, str], body: bytes) -> None:
        lines = {"Content-Type": "application/json", **headers, "Content-Length": str(len(body)), "Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body)

    async def _complete(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        reply = self.replies.popleft() if self.replies else self.reply
        if reply.status != 200:
            body = reply.raw if reply.raw is not None else json.dumps({"error": reply.error}).encode()
            self._write(writer, reply.status, reply.headers, body)
            return
        stream = asyncio.create_task(self._stream(request, reply, writer))
        leaving = asyncio.create_task(reader.read(1))
        await asyncio.wait({stream, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not stream.done():
            request.left_at = time.monotonic()
            stream.cancel()
        leaving.cancel()
        await asyncio.gather(stream, leaving, return_exceptions=True)

    async def _stream(self, request: Request, reply: Reply, writer: asyncio.StreamWriter) -> None:
        usage = {"prompt_tokens": 21, "completion_tokens": len(reply.pieces), "total_tokens": 21 + len(reply.pieces)}
        await asyncio.sleep(reply.first_delay)
        if not reply.streams:
            message = {"role": "assistant", "content": "".join(reply.pieces)}
            choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
            self._write(writer, 200, {}, json.dumps({"choices": [choice], "usage": usage}).encode())
            return
        head = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())

        def send(data: bytes) -> None:
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

        def chunk(delta: dict[str, Any], reason: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            send(f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n".encode())

        if reply.raw is not None:
            send(reply.raw)
        else:
            send(b": keep-alive\r\n\r\n")
            chunk({"role": "assistant", "content": ""})
            for thought in reply.thoughts:
                chunk({"reasoning_content": thought})
                await asyncio.sleep(reply.delay)
            for index, piece in enumerate([*reply.pieces, ""]):
                if index == reply.at and await self._fault(reply, send, writer):
                    return
                if index < len(reply.pieces):
                    chunk({"content": piece})
                    request.sent += 1
                    await writer.drain()
                    await asyncio.sleep(reply.delay)
            chunk({}, reply.finish_reason)
            if reply.has_usage and "stream_options" in request.body:
                send(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n".encode())
            send(b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _fault(self, reply: Reply, send: Any, writer: asyncio.StreamWriter) -> bool:
        """Whether that was the end."""
        await writer.drain()
        if reply.fault == "drop":
            # what was written should arrive, the rest should not
            await asyncio.sleep(0.05)
            writer.transport.abort()
        elif reply.fault == "hang":
            await asyncio.sleep(600)
        elif reply.fault == "end":
            writer.write(b"0\r\n\r\n")
        elif reply.fault == "error":
            send(f"data: {json.dumps({'error': reply.error})}\n\n".encode())
            writer.write(b"0\r\n\r\n")
        else:
            send(b"data: {not json\n\n")
            return False
        return True


@pytest.fixture
def remote_server() -> Iterator[RemoteServer]:
    server = RemoteServer()
    yield server
    server.close()
