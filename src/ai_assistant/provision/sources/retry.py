"""When to ask a server again, and when to give up."""

from __future__ import annotations

import email.utils
import random
import re
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import httpx

from ai_assistant.errors import SourceError, SourceUnreachableError

T = TypeVar("T")

# Attempts in a row that bring nothing; any byte that arrives starts the count anew. Their pauses add up to 1.5 minutes.
ATTEMPTS = 8
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
# A server that wants a longer pause than this is told to the person instead.
LONGEST_WAIT = 600.0
_BUSY_STATUS = {408, 425, 429}
# The hub's form: `"resolvers";r=0;t=42` says that nothing is left for 42 s.
_RATE_LIMIT = re.compile(r";\s*r=0\s*;\s*t=(\d+)")


class TransientError(Exception):
    """Worth another attempt; `pause` is what the server asks for, in seconds."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause


class Retry:
    """Repeats what fails for a passing reason, with growing pauses that differ from client to client."""

    def __init__(self, *, sleep: Callable[[float], None] = time.sleep, jitter: Callable[[], float] = random.random) -> None:
        self._sleep = sleep
        self._jitter = jitter

    def run(
        self, what: str, action: Callable[[], T], *, arrived: Callable[[], int] = lambda: 0, note: Callable[[str], None]
    ) -> T:
        """Returns what `action` returns. `arrived` counts the bytes that are here; `note` is told of each pause.

        Raises SourceUnreachableError about `what` after ATTEMPTS attempts without a byte, SourceError for what no pause mends.
        """
        failures, best = 0, arrived()
        while True:
            try:
                return action()
            except (TransientError, httpx.HTTPError, httpx.InvalidURL) as error:
                passing = _as_transient(what, error)
                if arrived() > best:
                    failures, best = 0, arrived()
                failures += 1
                if failures == ATTEMPTS:
                    kept = " What has arrived is kept; run the same command again to go on from there." if best else ""
                    raise SourceUnreachableError(
                        f"{what} cannot be downloaded: {passing.reason}, {ATTEMPTS} times in a row.{kept or ' Try again later.'}"
                    ) from error
            wait = pause(failures, passing.pause, self._jitter())
            if wait > LONGEST_WAIT:
                raise SourceUnreachableError(f"{what} cannot be downloaded now: {passing.reason}; try again in {_minutes(wait)}.")
            note(f"{passing.reason}; trying again in {wait:.0f} s")
            self._sleep(wait)


def pause(failures: int, asked: float | None, jitter: float) -> float:
    """Seconds to wait after so many failures; `asked` is the server's wish, `jitter` from 0 to 1."""
    grown = min(_FIRST_PAUSE * 2.0 ** (failures - 1), _LONGEST_PAUSE) * (0.5 + 0.5 * jitter)
    # Clients that were all told the same second must not all come back in it.
    return grown if asked is None else asked + jitter


def status_error(response: httpx.Response) -> TransientError | None:
    """The passing trouble that an answer tells of; None where it is an answer, or a refusal."""
    status = response.status_code
    if status < 500 and status not in _BUSY_STATUS:
        return None
    return TransientError(f"the server answers {status} {response.reason_phrase}".rstrip(), _asked_pause(response.headers))


def _asked_pause(headers: httpx.Headers) -> float | None:
    if limit := _RATE_LIMIT.search(headers.get("RateLimit", "")):
        return float(limit[1])
    asked = headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        until = email.utils.parsedate_to_datetime(asked)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


def _as_transient(what: str, error: Exception) -> TransientError:
    """Raises SourceError for what stays as it is however often one asks."""
    if isinstance(error, TransientError):
        return error
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise SourceError(
                f"{what} cannot be downloaded: the server's certificate is not trusted ({cause.verify_message});"
                " behind a company's proxy, name its certificates by SSL_CERT_FILE."
            ) from error
        if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
            raise SourceUnreachableError(
                f"{what} cannot be downloaded: there is no such host; check the name and the network."
            ) from error
    if isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol):
        return TransientError(_first_line(error))
    raise SourceError(f"{what} cannot be downloaded: {_first_line(error)}.") from error


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _first_line(error: Exception) -> str:
    lines = str(error).strip().rstrip(".").splitlines()
    return lines[0] if lines else {"ReadTimeout": "the server sends nothing"}.get(type(error).__name__, type(error).__name__)


def _minutes(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"
