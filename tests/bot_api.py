"""A small Bot API on loopback: enough of Telegram for a private chat."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

TOKEN = "4242:test-token"
BOT = {"id": 4242, "is_bot": True, "first_name": "Test", "username": "test_bot"}


class BotApi:
    """Holds updates until they are confirmed, and what the bot has sent."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.sent_at: list[float] = []
        """When each text arrived."""
        self.faults: list[tuple[int, dict[str, Any]]] = []
        """Answers to the next calls of sendMessage, which then do nothing."""
        self.faulted_at: list[float] = []
        self.blocked: set[int] = set()
        """Users who do not want to hear from the bot."""
        self.silent = False
        """Messages arrive, and the bot is not told."""
        self._next = 1
        self._lock = threading.Lock()
        self.url = ""

    def say(self, text: str, *, user: int = 7, language: str = "en") -> None:
        """A user writes to the bot."""
        with self._lock:
            message = {
                "message_id": self._next,
                "date": int(time.time()),
                "chat": {"id": user, "type": "private", "first_name": "Anna"},
                "from": {"id": user, "is_bot": False, "first_name": "Anna", "language_code": language},
                "text": text,
            }
            if text.startswith("/"):
                message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(text.split()[0])}]
            self.updates.append({"update_id": self._next, "message": message})
            self._next += 1

    def texts(self) -> list[str]:
        return [str(body["text"]) for method, body in self.sent if method == "sendMessage"]

    def wait_for(self, count: int, seconds: float = 60) -> list[str]:
        """The texts, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(self.texts()) < count:
            assert time.monotonic() < deadline, f"only {self.texts()}"
            time.sleep(0.05)
        return self.texts()

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/bot{token}/{method}")
        async def call(token: str, method: str, request: Request) -> JSONResponse:
            if token != TOKEN:
                return JSONResponse({"ok": False, "error_code": 401, "description": "Unauthorized"}, 401)
            # a bot that sends no files sends forms
            body: dict[str, Any] = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
            if method == "sendMessage" and (fault := self.fault(int(body["chat_id"]))) is not None:
                self.faulted_at.append(time.monotonic())
                return JSONResponse({"ok": False, "error_code": fault[0], **fault[1]}, fault[0])
            result = self.result(method, body)
            while method == "sendMessage" and self.silent:
                await asyncio.sleep(0.05)
            return JSONResponse({"ok": True, "result": result})

        return app

    def fault(self, chat_id: int) -> tuple[int, dict[str, Any]] | None:
        if chat_id in self.blocked:
            return 403, {"description": "Forbidden: bot was blocked by the user"}
        return self.faults.pop(0) if self.faults else None

    def flood(self, seconds: int) -> None:
        """Answer the next sendMessage with flood control."""
        description = f"Too Many Requests: retry after {seconds}"
        self.faults.append((429, {"description": description, "parameters": {"retry_after": seconds}}))

    def result(self, method: str, body: dict[str, Any]) -> Any:
        if method == "getMe":
            return BOT
        if method == "getUpdates":
            offset = int(body.get("offset") or 0)
            with self._lock:
                self.updates = [item for item in self.updates if item["update_id"] >= offset]
                waiting = list(self.updates)
            if not waiting:
                time.sleep(0.05)
            return waiting
        self.sent.append((method, body))
        if method == "sendMessage":
            self.sent_at.append(time.monotonic())
            chat = {"id": int(body["chat_id"]), "type": "private"}
            return {"message_id": 1000 + len(self.sent), "date": 1, "chat": chat, "from": BOT, "text": body["text"]}
        return True


@contextlib.contextmanager
def started_bot_api() -> Iterator[BotApi]:
    api = BotApi()
    server = uvicorn.Server(uvicorn.Config(api.app(), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    api.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield api
    finally:
        api.silent = False
        server.should_exit = True
        thread.join(10)
