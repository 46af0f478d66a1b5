"""Request bodies: read up to a limit, and refused before any route sees them if they are not clean JSON.

Python's JSON parser takes NaN, lone surrogates and NUL characters; PostgreSQL, UTF-8 and other programs' parsers do not.
"""

import asyncio
import contextlib
import json
import math
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_assistant.errors import AssistantError, BodyTooLargeError, InvalidRequestError, MalformedBodyError
from ai_assistant.gateway.error_handlers import error_response, response_for

MAX_DEPTH = 64
DISCARD_BYTES = 16_000_000
DISCARD_SECONDS = 3.0
NOT_FINITE = "must be a finite number"
NOT_TEXT = "contains a NUL character or half of a character"


class UnsupportedMediaTypeError(AssistantError):
    """The body must be JSON: send it with `Content-Type: application/json`."""

    code = "unsupported_media_type"
    status = 415


class BodyMiddleware:
    """Reads the body, checks it and hands it on in one piece. Requests without a body pass untouched."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if b"%00" in scope["query_string"] or "\x00" in scope["path"]:
            sentence = "The address contains a NUL character."
            response = error_response(scope, status=422, code="invalid_request", message=sentence)
            await response(scope, receive, send)
            return
        if "content-length" not in headers and "transfer-encoding" not in headers:
            await self.app(scope, receive, send)
            return
        try:
            body = await self.read(headers, receive)
            if body is None:
                return
            if body:
                check_media_type(headers.get("content-type", ""))
                check_json(body)
        except AssistantError as error:
            if isinstance(error, BodyTooLargeError) and "expect" not in headers:
                await discard(receive)
            await response_for(scope, error)(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self.app(scope, replay, send)

    async def read(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body; None if the client went away. Raises BodyTooLargeError without reading on."""
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_bytes:
            raise self.too_large()
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self.max_bytes:
                raise self.too_large()
            if not message.get("more_body", False):
                return b"".join(chunks)

    def too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"The request body is larger than {self.max_bytes} bytes.")


async def discard(receive: Receive) -> None:
    """Read a refused body for a while: a client that is still sending when we close would see a reset, not the answer."""
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            while size < DISCARD_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return


def check_media_type(value: str) -> None:
    """Only JSON, which a foreign web page cannot send without asking first."""
    kind = value.partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaTypeError


def check_json(body: bytes) -> None:
    """Raises MalformedBodyError or InvalidRequestError."""
    try:
        value = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedBodyError("The body is not valid UTF-8.") from error
    except RecursionError as error:
        raise MalformedBodyError("The body is nested too deeply.") from error
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise MalformedBodyError(f"The body is not valid JSON{where}.") from error
    check_values(value)


def check_values(document: Any) -> None:
    """Every string can be written as UTF-8 and to PostgreSQL, every number is one. Raises InvalidRequestError."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(document, ())]
    while waiting:
        value, path = waiting.pop()
        if isinstance(value, str):
            check_text(value, path)
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise refusal(path, NOT_FINITE)
        elif isinstance(value, (dict, list)):
            if len(path) >= MAX_DEPTH:
                raise MalformedBodyError("The body is nested too deeply.")
            if isinstance(value, dict):
                for key in value:
                    check_text(key, path)
                waiting += [(item, (*path, key)) for key, item in value.items()]
            else:
                waiting += [(item, (*path, str(index))) for index, item in enumerate(value)]


def check_text(value: str, path: tuple[str, ...]) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise refusal(path, NOT_TEXT) from error
    if "\x00" in value:
        raise refusal(path, NOT_TEXT)


def refusal(path: tuple[str, ...], problem: str) -> InvalidRequestError:
    field = ".".join(path)[:100]
    return InvalidRequestError(f"`{field}` {problem}." if field else f"The body {problem}.")
