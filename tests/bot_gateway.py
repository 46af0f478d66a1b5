"""A second implementation of the gateway's border with the bot, for people: users, assistants, numbers, deliveries. In memory,
over real HTTP, so that the bot's client is really run."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

MAX_SETTINGS_BYTES = 16_384


def refused(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


class BotGateway:
    """Everything that it was asked is noted in `asked` as (method, path)."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {}
        self.assistants: list[dict[str, Any]] = [{"name": "default", "state": "ready", "details": {}}]
        self.waiting: dict[str, list[str]] = {}
        """Unfinished tasks per chat."""
        self.cancelled: list[str] = []
        self.broadcasts: dict[str, str] = {}
        self.export = b"{}"
        self.asked: list[tuple[str, str]] = []
        self.request_ids: list[str | None] = []
        self.is_away = False
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["BotGateway"]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.is_away:
            return refused(503, "database_unavailable", "Away.")
        self.asked.append((request.method, request.path))
        self.request_ids.append(request.headers.get("X-Request-ID"))
        body = await request.json() if request.can_read_body else None
        if request.path.startswith("/api/users/"):
            return self.user(request.method, request.path.removeprefix("/api/users/"), body)
        match request.method, request.path:
            case "GET", "/api/assistants":
                return web.json_response({"assistants": self.assistants})
            case "GET", "/api/stats":
                return web.json_response(self.all_stats())
            case "GET", "/api/deliveries":
                return web.json_response(
                    {"deliveries": [{"task_id": id_} for id_ in self.waiting.get(request.query["target"], [])]}
                )
            case "POST", "/api/deliveries/broadcast":
                is_repeat = body["key"] in self.broadcasts
                self.broadcasts[body["key"]] = body["text"]
                return web.json_response({"targets": self.all_stats()["people"], "is_repeat": is_repeat})
            case "DELETE", path if path.startswith("/api/chat/"):
                self.cancelled.append(path.rpartition("/")[2])
                return web.json_response({})
        return refused(404, "not_found", "There is no such address.")

    def user(self, method: str, path: str, body: Any) -> web.StreamResponse:
        name, _, part = path.partition("/")
        if method == "DELETE":
            self.users.pop(name, None)
            return web.json_response({"deleted_messages": 0})
        if method == "PATCH":
            merged = {**self.users.get(name, {}), **body["settings"]}
            merged = {key: value for key, value in merged.items() if value is not None}
            if len(json.dumps(merged, ensure_ascii=False).encode()) > MAX_SETTINGS_BYTES:
                return refused(422, "invalid_request", "`settings` may have 16384 bytes in all.")
            self.users[name] = merged
        elif name not in self.users:
            return refused(404, "user_not_found", "There is no such user.")
        elif part == "export":
            return web.Response(body=self.export, content_type="application/json")
        elif part == "stats":
            return web.json_response(
                {"conversations": 2, "messages": 10, "answers": 5, "prompt_tokens": 1, "completion_tokens": 1234}
            )
        return web.json_response({"id": name, "settings": self.users[name]})

    def all_stats(self) -> dict[str, Any]:
        people = sum(name.startswith("tg:") for name in self.users)
        return {"people": people, "groups": 5000, "active_people": 1, "deliveries": {"telegram": {"waiting": 1, "pending": 2}}}
