"""What surrounds every request: its id, its line in the log, its numbers, and an answer to what nobody expected.

Plain ASGI: nothing is buffered, so streams pass through as they are.
"""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_assistant.gateway.error_handlers import error_response
from ai_assistant.logs import request_id
from ai_assistant.metrics import GatewayMetrics

logger = logging.getLogger("ai_assistant.gateway.access")

SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+=-]{0,127}")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
QUIET = ("/livez", "/readyz", "/metrics")
"""Asked every few seconds by machines: not worth a line each."""
UNROUTED = "unrouted"
"""Route label of what was refused or found nothing; an address never becomes a label."""


class RequestMiddleware:
    """Outermost: everything that another middleware refuses is counted and logged too."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identifier = choose_id(Headers(scope=scope).get("x-request-id"))
        request_id.set(identifier)
        started = time.perf_counter()
        status = 0
        is_stream = False

        async def watch(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = identifier
                headers.setdefault("X-Content-Type-Options", "nosniff")
                is_stream = headers.get("content-type", "").startswith("text/event-stream")
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception:
            if status:  # too late for another answer: the server breaks the connection off, and logs this
                raise
            logger.exception("unexpected error in %s %s", scope["method"], route_of(scope))
            sentence = f"Something went wrong here. If it happens again, look for the request id {identifier} in the logs."
            response = error_response(scope, status=500, code="internal_error", message=sentence)
            await response(scope, receive, watch)
        finally:
            self.record(scope, status, time.perf_counter() - started, is_stream=is_stream)

    def record(self, scope: Scope, status: int, seconds: float, *, is_stream: bool) -> None:
        route = route_of(scope)
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        self.metrics.requests.labels(route, method, str(status)).inc()
        if not is_stream:
            self.metrics.request_seconds.labels(route).observe(seconds)
        principal = scope.get("principal")
        fields = {
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "principal": principal.name if principal else None,
            "code": scope.get("error_code"),
        }
        quiet = route in QUIET and status < 400
        level = logging.DEBUG if quiet else logging.INFO
        logger.log(level, "request", extra={name: value for name, value in fields.items() if value is not None})


def choose_id(given: str | None) -> str:
    """The caller's request id if it is fit for a log, else a new one."""
    if given is not None and SANE_ID.fullmatch(given):
        return given
    return uuid.uuid4().hex


def route_of(scope: Scope) -> str:
    """Template of the route that serves this request."""
    return getattr(scope.get("route"), "path", UNROUTED)
