"""A gateway in memory: exactly the routes that the chat page uses, around the real page router.

Answers are scripted and slow; faults are switched on by the tests through plain attributes.
"""

import asyncio
import datetime
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse

from ai_assistant.errors import AssistantError, ConversationNotFoundError, TaskNotFoundError, UnauthorizedError
from ai_assistant.gateway import markdown, schemas
from ai_assistant.gateway.routes import page

KEYS = {"open-sesame": "alice", "other-key": "bob"}
UNFINISHED = ("queued", "running", "cancelling")


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass
class Answer:
    """One task with its message."""

    message: schemas.MessageView
    conversation: uuid.UUID
    pieces: list[str]
    status: str = "queued"
    text: str = ""
    error: schemas.ErrorBody | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def view(self) -> dict[str, Any]:
        reason = {"succeeded": "stop", "cancelled": "cancelled", "failed": "error"}.get(self.status)
        return schemas.TaskStatus.model_validate(
            {
                "task_id": self.message.task_id,
                "conversation_id": self.conversation,
                "status": self.status,
                "text": self.text,
                "queue": None,
                "usage": None,
                "finish_reason": reason,
                "error": self.error,
                "created_at": self.message.created_at,
                "started_at": None,
                "finished_at": None,
            }
        ).model_dump(mode="json")


class PageDouble:
    """State and faults of the double; the tests read and set the attributes."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Back to an empty gateway with a quick, short answer."""
        self.conversations: dict[uuid.UUID, dict[str, Any]] = {}
        self.answers: dict[uuid.UUID, Answer] = {}
        self.accepted: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self.sessions: dict[str, str] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.assistants: list[dict[str, Any]] = [{"name": "assistant", "state": "ready", "details": {}}]
        self.reply: list[str] = ["Hello", " from", " the", " model."]
        self.pause = 0.02
        self.queue: list[dict[str, Any]] = []
        self.queue_pause = 0.3
        self.protected = False
        self.cut_after: int | None = None
        """Number of token events after which the connection breaks, once."""
        self.reset_at: int | None = None
        """Code points after which a `reset` to 0 is sent, once."""
        self.refuse: AssistantError | None = None
        self.lose_replies = 0
        """Sends that are stored but whose reply never arrives."""
        self.fail_with: schemas.ErrorBody | None = None

    @property
    def sent(self) -> list[str]:
        return [body.get("message", "") for body, _ in self.accepted.values()]

    async def run(self, answer: Answer) -> None:
        """The worker."""
        await asyncio.sleep(len(self.queue) * self.queue_pause)
        for piece in answer.pieces:
            await asyncio.sleep(self.pause)
            if answer.status not in ("queued", "running"):
                return
            answer.status = "running"
            answer.text += piece
            self.poke(answer)
        answer.status = "failed" if self.fail_with else "succeeded"
        answer.error = self.fail_with
        self.poke(answer)

    def poke(self, answer: Answer) -> None:
        answer.message.text = answer.text
        answer.message.status = answer.status
        answer.message.error = answer.error
        event, answer.changed = answer.changed, asyncio.Event()
        event.set()

    async def events(self, answer: Answer, offset: int) -> AsyncIterator[str]:
        if answer.status == "queued":
            for place in self.queue:
                yield sse("queue", place)
                await asyncio.sleep(self.queue_pause)
        yield ": ping\n\n"
        sent = 0
        while True:
            changed = answer.changed
            if self.reset_at is not None and offset >= self.reset_at:
                self.reset_at = None
                offset = 0
                yield sse("reset", {"offset": 0})
            if len(answer.text) > offset:
                piece = answer.text[offset:]
                yield sse("token", {"offset": offset, "text": piece}, len(answer.text))
                offset += len(piece)
                sent += 1
                if self.cut_after is not None and sent >= self.cut_after:
                    self.cut_after = None
                    raise ConnectionAbortedError("the test cut this stream")
            elif answer.status not in UNFINISHED:
                yield sse("error" if answer.status == "failed" else "done", answer.view())
                return
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), 0.5)


def sse(event: str, data: object, number: int | None = None) -> str:
    prefix = f"id: {number}\n" if number is not None else ""
    return f"{prefix}event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def build_app(double: PageDouble) -> FastAPI:
    app = FastAPI()
    app.include_router(page.router)
    background: set[asyncio.Task[None]] = set()

    @app.exception_handler(AssistantError)
    def explain(request: Request, error: AssistantError) -> JSONResponse:
        return JSONResponse({"error": {"code": error.code, "message": error.message}}, error.status)

    def conversation_of(identifier: uuid.UUID) -> dict[str, Any]:
        if identifier not in double.conversations:
            raise ConversationNotFoundError
        return double.conversations[identifier]

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Any:
        path = request.url.path
        double.requests.append((request.method, path, request.headers.get("last-event-id")))
        guarded = double.protected and path.startswith("/api/") and path != "/api/session"
        if guarded and request.cookies.get("session") not in double.sessions:
            return explain(request, UnauthorizedError())
        return await call_next(request)

    @app.get("/api/session")
    def session(request: Request) -> dict[str, Any]:
        user = double.sessions.get(request.cookies.get("session", ""))
        return {"required": double.protected, "authenticated": not double.protected or user is not None, "user": user}

    @app.post("/api/session")
    def sign_in(body: schemas.SessionRequest) -> JSONResponse:
        if body.key not in KEYS:
            raise UnauthorizedError
        token = uuid.uuid4().hex
        double.sessions[token] = KEYS[body.key]
        response = JSONResponse({"required": True, "authenticated": True, "user": KEYS[body.key]})
        response.set_cookie("session", token, httponly=True, samesite="strict")
        return response

    @app.delete("/api/session")
    def sign_out(request: Request) -> JSONResponse:
        double.sessions.pop(request.cookies.get("session", ""), None)
        response = JSONResponse({"required": True, "authenticated": False, "user": None})
        response.delete_cookie("session")
        return response

    @app.get("/api/assistants")
    def assistants() -> dict[str, Any]:
        return {"assistants": double.assistants}

    @app.get("/api/conversations")
    def conversations(after: str | None = None) -> schemas.ConversationList:
        newest = sorted(double.conversations.values(), key=lambda item: item["updated_at"], reverse=True)
        start = int(after or 0)
        more = str(start + 30) if len(newest) > start + 30 else None
        summaries = [schemas.ConversationSummary.model_validate(item) for item in newest[start : start + 30]]
        return schemas.ConversationList(conversations=summaries, next=more)

    @app.get("/api/conversations/{identifier}")
    def conversation(identifier: uuid.UUID, html: bool = False) -> schemas.ConversationView:
        view = schemas.ConversationView.model_validate(conversation_of(identifier)).model_copy(deep=True)
        for message in view.messages:
            if html and message.role == "assistant":
                message.html = markdown.render(message.text)
        return view

    @app.patch("/api/conversations/{identifier}")
    def rename(identifier: uuid.UUID, body: schemas.ConversationPatch) -> dict[str, Any]:
        conversation_of(identifier)["title"] = body.title
        return {"id": str(identifier), "title": body.title}

    @app.delete("/api/conversations/{identifier}", status_code=204)
    def delete(identifier: uuid.UUID) -> None:
        conversation_of(identifier)
        del double.conversations[identifier]

    @app.post("/api/chat", status_code=202)
    async def chat(body: schemas.ChatRequest, idempotency_key: str = Header()) -> JSONResponse:
        raw = body.model_dump(mode="json", exclude_unset=True)
        if double.refuse:
            error, double.refuse = double.refuse, None
            raise error
        if idempotency_key not in double.accepted:
            double.accepted[idempotency_key] = (raw, accept(body))
        if double.lose_replies:
            double.lose_replies -= 1
            raise ConnectionAbortedError("the test lost this reply")
        before, answer = double.accepted[idempotency_key]
        assert before == raw
        return JSONResponse(answer, 202)

    def accept(body: schemas.ChatRequest) -> dict[str, Any]:
        conversation = conversation_of(body.conversation_id) if body.conversation_id else None
        if conversation is None:
            identifier = uuid.uuid4()
            conversation = {
                "id": identifier,
                "title": (body.message or "")[:60],
                "assistant": body.assistant or "assistant",
                "created_at": now(),
                "updated_at": now(),
                "messages": [],
            }
            double.conversations[identifier] = conversation
        messages: list[schemas.MessageView] = conversation["messages"]
        known = {message.id: message for message in messages}
        conversation["updated_at"] = now()

        def add(role: str, parent: uuid.UUID | None, text: str) -> schemas.MessageView:
            values = {"id": uuid.uuid4(), "parent_id": parent, "role": role, "text": text, "created_at": now()}
            empty = dict.fromkeys(("html", "task_id", "status", "finish_reason", "error"))
            message = schemas.MessageView.model_validate(empty | values)
            messages.append(message)
            return message

        if body.regenerate_of:
            question = known[known[body.regenerate_of].parent_id]  # type: ignore[index]
        else:
            newest = messages[-1].id if messages else None
            question = add("user", known[body.edit_of].parent_id if body.edit_of else newest, body.message or "")
        message = add("assistant", question.id, "")
        message.task_id, message.status = uuid.uuid4(), "queued"
        answer = Answer(message, conversation["id"], list(double.reply))
        double.answers[message.task_id] = answer
        task = asyncio.get_running_loop().create_task(double.run(answer))
        background.add(task)
        task.add_done_callback(background.discard)
        return {
            "task_id": str(message.task_id),
            "conversation_id": str(conversation["id"]),
            "status": "queued",
            "queue": double.queue[0] if double.queue else None,
            "user_message_id": str(question.id),
            "answer_message_id": str(message.id),
        }

    @app.get("/api/chat/{task_id}/stream")
    def stream(task_id: uuid.UUID, last_event_id: int = Header(0)) -> StreamingResponse:
        if task_id not in double.answers:
            raise TaskNotFoundError
        return StreamingResponse(double.events(double.answers[task_id], last_event_id), media_type="text/event-stream")

    @app.delete("/api/chat/{task_id}")
    def cancel(task_id: uuid.UUID) -> dict[str, Any]:
        answer = double.answers[task_id]
        if answer.status in UNFINISHED:
            answer.status = "cancelled"
            answer.message.status = "cancelled"
        return answer.view()

    return app
