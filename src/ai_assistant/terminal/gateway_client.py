"""The gateway's HTTP API for the terminal commands: retries what is safe to retry and resumes a stream that was cut."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from ai_assistant import __version__
from ai_assistant.errors import AssistantError
from ai_assistant.sse import parse_events

TEMPORARY = (502, 503, 504)
FIRST_PAUSE = 0.2
LAST_PAUSE = 2.0
PATIENCE_SECONDS = 60.0
"""How long a gateway that has answered before may be away (a restart, a rollout)."""
SILENCE_SECONDS = 60.0
"""A stream that says nothing, not even that it lives, is opened anew."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class GatewayUnreachableError(AssistantError):
    """The gateway cannot be reached."""

    code = "gateway_unreachable"


class GatewayRefusedError(AssistantError):
    """The gateway refused the request."""

    code = "gateway_refused"


@dataclass(frozen=True)
class Accepted:
    task_id: str
    conversation_id: str | None


@dataclass(frozen=True)
class Waiting:
    """The task stands in the queue; 1 is next."""

    position: int
    eta_seconds: float | None


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Reset:
    """What was told from `offset` (in characters) on is void."""

    offset: int


@dataclass(frozen=True)
class Away:
    """The connection is lost; trying again."""


@dataclass(frozen=True)
class Ended:
    """The task is over; its status object."""

    status: dict[str, Any]


StreamEvent = Waiting | Text | Reset | Away | Ended


class GatewayClient:
    """One gateway, spoken to with one key."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._patience = patience
        self._sleep = sleep
        headers = {"User-Agent": f"ai-assistant-terminal/{__version__}"}
        if key:
            if not (key.isascii() and key.isprintable()):
                raise GatewayRefusedError("AI_ASSISTANT_GATEWAY_KEY has characters that a key cannot have; copy it anew.")
            headers["Authorization"] = f"Bearer {key}"
        try:
            # A proxy for the world is not asked for the way to this machine.
            is_local = urlsplit(self.url).hostname in LOOPBACK
            self._http = httpx.Client(base_url=self.url, headers=headers, timeout=30.0, trust_env=not is_local)
        except (httpx.InvalidURL, ValueError) as error:
            raise GatewayUnreachableError(f"{self.url} is not a URL: set AI_ASSISTANT_GATEWAY_URL.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def check(self) -> None:
        """Raises GatewayUnreachableError, with what to do, if nothing listens."""
        self._once("GET", "/livez")

    def send(self, message: str, conversation_id: str | None = None, *, assistant: str | None = None) -> Accepted:
        """Send a message once, however often it has to be tried."""
        body = {"message": message, "conversation_id": conversation_id, "assistant": assistant}
        answer = self._patiently(
            "POST",
            "/api/chat",
            json={name: value for name, value in body.items() if value is not None},
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )
        return Accepted(str(answer["task_id"]), answer.get("conversation_id"))

    def stream(self, task_id: str) -> Iterator[StreamEvent]:
        """The answer as it is written, each character once, over cut connections and restarts of the gateway."""
        last_id: str | None = None
        failures = _Failures(self._patience, self._sleep)
        while True:
            try:
                headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
                path = f"/api/chat/{quote(task_id)}/stream"
                timeout = httpx.Timeout(30.0, read=SILENCE_SECONDS)
                with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                    if response.status_code != 200:
                        response.read()
                        _raise_for(response)
                    for event in parse_events(response.iter_bytes()):
                        failures.clear()
                        data = json.loads(event.data)
                        last_id = event.id if event.id is not None else last_id
                        if event.name == "queue":
                            yield Waiting(data["position"], data.get("eta_seconds"))
                        elif event.name == "token":
                            yield Text(data["text"])
                        elif event.name == "reset":
                            last_id = str(data["offset"])
                            yield Reset(data["offset"])
                        elif event.name in ("done", "error"):
                            yield Ended(data or {})
                            return
            except (httpx.TransportError, _TemporaryError) as error:
                failures.wait(self._unreachable(error), error)
            else:
                failures.wait(self._unreachable(None), None)
            yield Away()

    def cancel(self, task_id: str) -> dict[str, Any]:
        """Stop a task; its status object, with the text so far."""
        return self._once("DELETE", f"/api/chat/{quote(task_id)}")

    def status(self, task_id: str) -> dict[str, Any]:
        return self._patiently("GET", f"/api/status/{quote(task_id)}")

    def conversation(self, conversation_id: str) -> dict[str, Any]:
        """A conversation with all its messages."""
        return self._patiently("GET", f"/api/conversations/{quote(conversation_id)}")

    def conversations(self) -> list[dict[str, Any]]:
        """The latest conversations."""
        return list(self._patiently("GET", "/api/conversations").get("conversations", []))

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether the gateway is ready, and what it says of its parts."""
        response = self._request("GET", "/readyz")
        body = _json(response)
        if response.status_code not in (200, 503):
            _raise_for(response)
        return response.status_code == 200, body

    def _patiently(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        failures = _Failures(self._patience, self._sleep)
        while True:
            try:
                return self._once(method, path, **arguments)
            except (GatewayUnreachableError, _TemporaryError) as error:
                failures.wait(error, error)

    def _once(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        response = self._request(method, path, **arguments)
        if not response.is_success:
            _raise_for(response)
        return _json(response)

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **arguments)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception | None) -> AssistantError:
        if isinstance(error, _TemporaryError):
            return error
        if isinstance(error, httpx.ConnectError):
            what = f"Nothing listens at {self.url}"
        elif isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
            return GatewayUnreachableError(f"{self.url} is not an http URL: set AI_ASSISTANT_GATEWAY_URL.")
        else:
            what = f"The gateway at {self.url} does not answer{f' ({error})' if error and str(error) else ''}"
        return GatewayUnreachableError(f"{what}: start it with `make run`, or set AI_ASSISTANT_GATEWAY_URL or PORT.")


class _TemporaryError(GatewayRefusedError):
    """The gateway cannot answer just now."""


class _Failures:
    """Pauses between attempts, up to a limit of time without any success."""

    def __init__(self, patience: float, sleep: Callable[[float], None]) -> None:
        self._patience = patience
        self._sleep = sleep
        self.clear()

    def clear(self) -> None:
        self._waited = 0.0
        self._pause = FIRST_PAUSE

    def wait(self, final: AssistantError, cause: Exception | None) -> None:
        if self._waited >= self._patience:
            raise final from cause
        self._sleep(self._pause)
        self._waited += self._pause
        self._pause = min(2 * self._pause, LAST_PAUSE)


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _raise_for(response: httpx.Response) -> None:
    error = _json(response).get("error")
    message = str(error.get("message")) if isinstance(error, dict) else f"The gateway answered {response.status_code}."
    if response.status_code == 401:
        message = f"{message} (Here: set AI_ASSISTANT_GATEWAY_KEY.)"
    raise (_TemporaryError if response.status_code in TEMPORARY else GatewayRefusedError)(message)
