"""A gateway that understands conversations, without a model: it keeps what it is asked and says what is owed."""

import time
import uuid
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway_double import GatewayDouble


class ChatGateway(GatewayDouble):
    """`asked` are the accepted turns in order, each with its `body`, `key`, `task_id`, `state` and `text`."""

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[str, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        self.withdrawn: list[str] = []
        self.refusals: list[tuple[int, str]] = []
        """Status and code for the next questions."""
        self.slow_seconds = 0.0
        """For each question."""
        self.forbids_persona = False
        self.conversations: dict[str, tuple[str, str]] = {}
        """User and assistant."""

    @property
    def texts(self) -> list[str]:
        return [str(item["body"].get("message")) for item in self.asked]

    def finish(self, number: int = -1, state: str = "delivered") -> None:
        self.asked[number]["state"] = state

    def respond(self, method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any] | None:
        address, query = urlsplit(path).path, dict(parse_qsl(urlsplit(path).query))
        if (method, address) == ("POST", "/api/chat"):
            time.sleep(self.slow_seconds)
            return self.accept(body, headers["idempotency-key"])
        if method == "PATCH" and address.startswith("/api/users/"):
            settings = {**self.users.get(unquote(address[11:]), {}), **body["settings"]}
            self.users[unquote(address[11:])] = {key: value for key, value in settings.items() if value is not None}
            return 200, {"settings": settings}
        if (method, address) == ("GET", "/api/deliveries/questions"):
            return 200, {"questions": [self.view(item) for item in self.asked if self.is_wanted(item, query)]}
        if method == "DELETE" and address.startswith("/api/chat/") and query == {"withdraw": "true"}:
            (item,) = [item for item in self.asked if item["task_id"] == address[10:]]
            item["state"] = "skipped"
            self.withdrawn.append(str(item["body"].get("message")))
            return 200, {"status": "cancelled"}
        return None

    def accept(self, body: dict[str, Any], key: str) -> tuple[int, Any]:
        if self.refusals:
            return refusal(*self.refusals.pop(0))
        for item in self.asked:
            if item["key"] == key:
                return (202, self.accepted_view(item)) if item["body"] == body else refusal(422, "idempotency_mismatch")
        if body.get("instructions") and self.forbids_persona:
            return refusal(422, "persona_forbidden")
        user, assistant, conversation = body["user_id"], body.get("assistant", "assistant"), body.get("conversation_id")
        if edited := body.get("edit_of") or body.get("regenerate_of"):
            found = [item for item in self.asked if edited in (item["user_message_id"], item["answer_message_id"])]
            if not found or found[0]["conversation_id"] not in self.conversations:
                return refusal(404, "not_found")
            conversation, assistant = found[0]["conversation_id"], found[0]["assistant"]
        if conversation is None:
            conversation = str(uuid.uuid4())
            self.conversations[conversation] = user, assistant
        if self.conversations.get(conversation, ("",))[0] != user:
            return refusal(404, "conversation_not_found")
        if self.conversations[conversation][1] != assistant:
            return refusal(422, "invalid_request")
        ids = {name: str(uuid.uuid4()) for name in ("task_id", "user_message_id", "answer_message_id")}
        text = body.get("message") or "what was asked before"
        more = {"conversation_id": conversation, "assistant": assistant, "state": "waiting", "text": text}
        self.asked.append({"body": body, "key": key, **ids, **more})
        return 202, self.accepted_view(self.asked[-1])

    def accepted_view(self, item: dict[str, Any]) -> dict[str, Any]:
        return {name: item[name] for name in ("task_id", "conversation_id", "user_message_id", "answer_message_id")}

    def is_wanted(self, item: dict[str, Any], query: dict[str, str]) -> bool:
        target = item["body"]["delivery"]["target"]
        first, message_id = target["message_id"], int(query.get("message_id", target["message_id"]))
        return (
            str(target["chat_id"]) == query["target"]
            and first <= message_id <= target.get("last_message_id", first)
            and query.get("conversation_id") in (None, item["conversation_id"])
            and (item["state"] in ("waiting", "pending", "sending") or "is_open" not in query)
        )

    def view(self, item: dict[str, Any]) -> dict[str, Any]:
        return self.accepted_view(item) | {
            "target": item["body"]["delivery"]["target"],
            "state": item["state"],
            "text": item["text"],
        }


def refusal(status: int, code: str) -> tuple[int, Any]:
    return status, {"error": {"code": code, "message": "No."}}
