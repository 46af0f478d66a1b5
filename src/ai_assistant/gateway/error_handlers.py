"""Every error as JSON: `{error: {code, message}}`, and under /v1 OpenAI's error object with OpenAI's statuses."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from ai_assistant.errors import AssistantError, DatabaseUnavailableError

logger = logging.getLogger(__name__)

MAX_FIELD_CHARS = 100
NOT_MIGRATED = ("42P01", "42703")
"""PostgreSQL's codes for a table and a column that is not there."""
HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
HTTP_MESSAGES = {404: "There is nothing at this address.", 405: "This address does not answer to that method."}
OPENAI_CODES = {
    "assistant_not_found": "model_not_found",
    "overloaded": "rate_limit_exceeded",
    "prompt_too_long": "context_length_exceeded",
    "unauthorized": "invalid_api_key",
}


def install(app: FastAPI) -> None:
    """Answer all of the application's errors in our shape."""
    app.add_exception_handler(AssistantError, _assistant_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(DBAPIError, _database_error)


def error_response(
    scope: Scope,
    *,
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
    param: str | None = None,
) -> JSONResponse:
    """The response for an error at the scope's path; counts it and notes its code for the access log."""
    scope["error_code"] = code
    scope["app"].state.gateway.metrics.errors.labels(code).inc()
    if scope["path"].startswith("/v1/"):
        status, content = openai_error(status, code, message, param)
    else:
        content = {"error": {"code": code, "message": message}}
    return JSONResponse(content, status_code=status, headers=dict(headers or {}))


def openai_error(status: int, code: str, message: str, param: str | None = None) -> tuple[int, dict[str, Any]]:
    """OpenAI's status and error object."""
    status = 400 if status == 422 else status
    if status >= 500:
        kind = "server_error"
    elif status == 429:
        kind = "rate_limit_error"
    else:
        kind = "invalid_request_error"
    return status, {"error": {"message": message, "type": kind, "param": param, "code": OPENAI_CODES.get(code, code)}}


def response_for(scope: Scope, error: AssistantError) -> JSONResponse:
    """The response for one of our own errors."""
    headers = {}
    if (seconds := getattr(error, "retry_after", None)) is not None:
        headers["Retry-After"] = str(seconds)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == 413:
        headers["Connection"] = "close"  # the rest of the body is not read
    return error_response(scope, status=error.status, code=error.code, message=error.message, headers=headers)


async def _assistant_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AssistantError)
    if error.status >= 500:
        cause = error.__cause__
        logger.error("%s (%s)", error.message, type(cause).__name__ if cause else error.code, exc_info=error.status == 500)
    return response_for(request.scope, error)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    message, param = explain(error.errors())
    return error_response(request.scope, status=422, code="invalid_request", message=message, param=param)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = HTTP_CODES.get(error.status_code, "invalid_request")
    message = HTTP_MESSAGES.get(error.status_code, error.detail)
    return error_response(request.scope, status=error.status_code, code=code, message=message, headers=error.headers)


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    if state not in NOT_MIGRATED:
        raise error
    logger.error("the database's tables are not those of this version (%s)", state)
    unavailable = DatabaseUnavailableError("The database is not set up for this version yet: run `ai-assistant migrate`.")
    return response_for(request.scope, unavailable)


def explain(errors: Sequence[Any]) -> tuple[str, str | None]:
    """One sentence about what is wrong with a request, naming the field and never repeating its value; and the field."""
    sentences = []
    first = None
    for item in errors[:3]:
        where, *path = item["loc"]
        # a union names the branch that it tried as well; people know only the field
        field = ".".join(str(part) for part in path if not _is_branch(part))[:MAX_FIELD_CHARS]
        name = json.dumps(field, ensure_ascii=False).strip('"') if field else ""
        first = first or name or None
        subject = f"`{name}`" if name else f"the {where}"
        if item["type"] == "missing":
            sentences.append(f"{subject} is missing")
        elif item["type"] == "extra_forbidden":
            sentences.append(f"{subject} is not a known field")
        else:
            message = str(item["msg"]).split(", invalid ")[0].rstrip(".")
            sentences.append(f"{subject}: {message[:1].lower()}{message[1:]}")
    text = "; ".join(dict.fromkeys(sentences)) or "the request is not valid"
    return f"{text[:1].upper()}{text[1:]}.", first


def _is_branch(part: Any) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("str", "constrained-str", "int", "float", "bool"))
