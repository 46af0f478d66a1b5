"""What a model server's refusals and failures mean: whom to tell, and whether to try again. Pure."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import httpx

from ai_assistant.errors import AssistantError, PromptTooLongError, RemoteFailedError, RemoteRefusedError, RemoteUnavailableError

MAX_DETAIL = 300
"""Characters of a server's own words that are passed on."""
OVERLOADED = (408, 425, 429, 502, 503, 504, 529)
TOO_LONG = re.compile(
    r"context[_ ](length|window|size|limit)|maximum context|max_model_len|prompt[_ ](is[_ ])?too[_ ]long|too many (input )?tokens"
    r"|exceeds? (the )?(model'?s )?(maximum )?context|reduce the length|prompt_too_long",
    re.IGNORECASE,
)
NOT_KNOWN = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|extra (inputs|fields)|not a parameter"
    r"|no such|invalid (parameter|argument|field)|only allowed|deprecated",
    re.IGNORECASE,
)


class Retry(Enum):
    """What is worth doing after a failure."""

    NEVER = "never"
    SOON = "soon"
    """A few times: the server is there, but this answer broke."""
    WHEN_BACK = "when back"
    """Until the deadline: the server is away, or has too much to do."""
    SHORTER = "shorter"
    """With less of the conversation."""
    WITHOUT = "without"
    """Without the parameter that the server does not know."""


@dataclass
class FailureError(Exception):
    """A request to a model server did not work."""

    error: AssistantError
    """What the user is told."""
    retry: Retry
    reason: str
    """For the operator."""
    after: float | None = None
    """Seconds that the server asks for."""
    parameter: str | None = None
    is_lasting: bool = False
    """Every request would fail like this until somebody corrects the settings, here or there."""

    def __str__(self) -> str:
        return self.reason


def refused(reason: str) -> FailureError:
    return FailureError(RemoteRefusedError(), Retry.NEVER, reason, is_lasting=True)


def broken(reason: str) -> FailureError:
    """The server is there, and what it sent cannot be used."""
    return FailureError(RemoteFailedError(), Retry.SOON, reason)


def unavailable(reason: str, after: float | None = None) -> FailureError:
    return FailureError(RemoteUnavailableError(), Retry.WHEN_BACK, reason, after)


def of_transport(error: Exception) -> FailureError:
    """A connection that was not made, or broke. The text of what is foreign is not passed on: it may hold what was sent."""
    causes = [str(item) for item in chain(error) if isinstance(item, OSError | httpx.TransportError) and str(item)]
    cause = causes[-1][:MAX_DETAIL] if causes else ""
    if "CERTIFICATE_VERIFY_FAILED" in cause or ("SSL" in cause and isinstance(error, httpx.ConnectError)):
        return refused(f"the TLS connection fails ({cause}): check the certificate and the scheme of AI_ASSISTANT_REMOTE_URL")
    if isinstance(error, httpx.ConnectTimeout):
        return unavailable("no connection within AI_ASSISTANT_REMOTE_CONNECT_SECONDS")
    if isinstance(error, httpx.ConnectError | httpx.PoolTimeout | httpx.ProxyError):
        return unavailable(f"no connection ({cause or type(error).__name__})")
    if isinstance(error, httpx.TransportError):
        return broken("the connection broke")
    return broken(f"something unexpected happened ({type(error).__name__})")


def of_status(
    status: int, headers: httpx.Headers, body: bytes, *, sent: Collection[str] = (), secret: str | None = None
) -> FailureError:
    """An answer that is not 2xx. `sent` are the optional parameters of the request, `secret` must not be passed on."""
    return of_error(error_object(body), status, after=retry_after(headers), sent=sent, secret=secret)


def of_error(
    error: dict[str, Any], status: int, *, after: float | None = None, sent: Collection[str] = (), secret: str | None = None
) -> FailureError:
    """An error object in OpenAI's shape, from a body or from within a stream."""
    message = hide(str(error.get("message") or ""), secret)
    names = f"{error.get('code') or ''} {error.get('type') or ''}"
    reason = f"HTTP {status}" + (f": {message}" if message else "")
    if status in (401, 403, 407):
        return refused(f"{reason} (check AI_ASSISTANT_REMOTE_API_KEY)")
    if "insufficient_quota" in names or status == 402:
        return refused(f"{reason} (the account's quota)")
    if status in (400, 413, 422, 500) and TOO_LONG.search(f"{names} {message}"):
        return FailureError(PromptTooLongError(), Retry.SHORTER, reason)
    if status in (400, 422) and (parameter := unknown_parameter(error, message, names, sent)):
        return FailureError(RemoteRefusedError(), Retry.WITHOUT, reason, parameter=parameter)
    if status in (404, 405, 410):
        return refused(f"{reason} (check AI_ASSISTANT_REMOTE_URL and AI_ASSISTANT_REMOTE_MODEL)")
    if status in OVERLOADED:
        return unavailable(reason, after)
    if status >= 500:
        return broken(reason)
    if 300 <= status < 400:
        return refused(f"{reason}: the server wants another address; correct AI_ASSISTANT_REMOTE_URL")
    sentence = f"The model server refuses the request: {message}" if message else None
    return FailureError(RemoteRefusedError(sentence), Retry.NEVER, reason)


def unknown_parameter(error: dict[str, Any], message: str, names: str, sent: Collection[str]) -> str | None:
    """The optional parameter that the server does not take."""
    if "max_tokens" in sent and "max_completion_tokens" in message:
        return "max_tokens"
    if not NOT_KNOWN.search(f"{names} {message}"):
        return None
    if error.get("param") in sent:
        return str(error["param"])
    # the longest first: `logprobs` is within `top_logprobs`
    found = (name for name in sorted(sent, key=len, reverse=True) if re.search(rf"(?<![a-z_]){name}(?![a-z_])", message))
    return next(found, None)


def error_object(body: bytes) -> dict[str, Any]:
    """The error in a body, in the shapes that servers have; {} if it holds none."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return {}
    for name in ("error", "detail", "message"):
        value = data.get(name)
        if isinstance(value, dict):
            return value
        if isinstance(value, str) and value:
            return data | {"message": value}
        if isinstance(value, list) and value:
            return {"message": json.dumps(value)}
    return {}


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds of a Retry-After header, a number or a date."""
    value = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        now = parsedate_to_datetime(headers["date"])
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def hide(text: str, secret: str | None) -> str:
    """One line of a server's own words."""
    if secret:
        text = text.replace(secret, "***")
    text = " ".join(text.split())
    return text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]}…"


def chain(error: BaseException | None) -> list[BaseException]:
    """An exception and what it came from."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
