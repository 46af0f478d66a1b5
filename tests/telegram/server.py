"""HTTP on loopback: reads calls, lets faults happen, answers; runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from typing import TYPE_CHECKING, Any

from aiohttp import web
from telegram.calls import Call, RefusedError, read_call
from telegram.faults import Fault
from telegram.methods import METHODS, NAMES
from telegram.record import CallRecord
from telegram.updates import WEBHOOK_ACTIVE, conflict

if TYPE_CHECKING:
    from telegram.api import BotApi

START_SECONDS = 10
LARGEST_BODY = 60 * 1024 * 1024


class Server:
    """The Bot API of one bot on one port; can be stopped, and started on the same port."""

    def __init__(self, api: BotApi, token: str) -> None:
        self.api = api
        self.token = token
        self.port = 0
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns once it serves; does nothing if it runs."""
        if self._thread is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listener, ready)), name="telegram", daemon=True)
        self._thread.start()
        assert ready.wait(START_SECONDS), "the Bot API did not start"

    def stop(self) -> None:
        """Hang up and refuse connections; does nothing if it does not run."""
        if self._thread is None:
            return
        loop, stopping = self.api.updates.loop, self._stopping
        assert loop is not None
        assert stopping is not None
        loop.call_soon_threadsafe(stopping.set)
        self._thread.join(START_SECONDS)
        assert not self._thread.is_alive(), "the Bot API did not stop"
        self._thread = None

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_route("*", "/bot{token}/{method}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=1024).start()
        self._stopping = asyncio.Event()
        self.api.updates.loop = asyncio.get_running_loop()
        sender = asyncio.create_task(self.api.webhook.deliver(self.api))
        ready.set()
        await self._stopping.wait()
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        token, name = request.match_info["token"], NAMES.get(request.match_info["method"].lower())
        try:
            if not re.fullmatch(r"\d+:[A-Za-z0-9_-]+", token):
                raise RefusedError(404, "Not Found")
            if token != self.token:
                raise RefusedError(401, "Unauthorized")
            if name is None:
                raise RefusedError(404, "Not Found: method not found")
            call = await read_call(name, request)
        except RefusedError as refused:
            return web.json_response(refused.body(), status=refused.code)
        record = CallRecord(self.api.clock.now(), call)
        self.api.record.calls.append(record)
        try:
            return await self._fate(call, record, request)
        finally:
            record.answered_at = self.api.clock.now()
            self.api.record.answered()

    async def _fate(self, call: Call, record: CallRecord, request: web.Request) -> web.StreamResponse:
        """The answer to a call, after what goes wrong with it."""
        try:
            self.api.flood.check(call)
            fault = self.api.faults.of(call)
            if fault is None:
                self._count(call)
        except RefusedError as refused:
            return refusal(record, refused)
        if fault is None:
            return await self._result(call, record)
        if fault.done:
            answer = await self._result(call, record)
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.reply != "answer":
            return await self._nonsense(fault, record, request)
        if fault.error is None:
            return answer
        if "retry_after" in fault.error.parameters:
            self.api.flood.open(call, fault.error.parameters["retry_after"])
        return refusal(record, fault.error)

    def _count(self, call: Call) -> None:
        """Raises RefusedError, and opens the window, where the natural limits are used up."""
        try:
            self.api.flood.count(call)
        except RefusedError as refused:
            self.api.flood.open(call, refused.parameters["retry_after"])
            raise

    async def _result(self, call: Call, record: CallRecord) -> web.Response:
        try:
            if call.method != "getUpdates":
                with self.api.lock:
                    result = METHODS[call.method](self.api, call)
            elif self.api.webhook.url:
                raise conflict(WEBHOOK_ACTIVE)
            else:
                result = await self.api.updates.poll(call)
        except RefusedError as refused:
            return refusal(record, refused)
        record.outcome, record.code, record.done = "ok", 200, True
        return web.json_response({"ok": True, "result": result})

    async def _nonsense(self, fault: Fault, record: CallRecord, request: web.Request) -> web.StreamResponse:
        """No answer, or none that a program can read."""
        if fault.reply == "garbage":
            record.outcome, record.code = "garbage", 200
            return web.Response(text="<html><body>It works!</body></html>", content_type="text/html")
        record.outcome, record.code = ("no answer" if fault.reply == "never" else "closed"), None
        self.api.record.answered()
        generation = self.api.faults.generation
        while fault.reply == "never" and generation == self.api.faults.generation and request.transport is not None:
            await asyncio.sleep(0.02)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


def refusal(record: CallRecord, refused: RefusedError) -> web.Response:
    record.outcome, record.code = refused.description, refused.code
    body: dict[str, Any] = refused.body()
    return web.json_response(body, status=refused.code)
