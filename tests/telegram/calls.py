"""One call of a method: its parameters out of a form, JSON or a query, and the ways to refuse it."""

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


class RefusedError(Exception):
    """An answer with `ok: false`."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters

    def body(self) -> dict[str, Any]:
        answer: dict[str, Any] = {"ok": False, "error_code": self.code, "description": self.description}
        return answer | ({"parameters": self.parameters} if self.parameters else {})


def bad_request(description: str, **parameters: int) -> RefusedError:
    return RefusedError(400, f"Bad Request: {description}", **parameters)


def too_many_requests(seconds: int) -> RefusedError:
    return RefusedError(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)


@dataclass(frozen=True)
class Upload:
    filename: str
    content: bytes


@dataclass(frozen=True)
class Call:
    """A method and its parameters as they came: strings, or JSON values."""

    method: str
    parameters: dict[str, Any]
    uploads: dict[str, Upload] = field(default_factory=dict)

    @property
    def chat_id(self) -> int | None:
        """The chat it is about, if any; a name instead of a number is no chat here."""
        try:
            return int(self.parameters["chat_id"])
        except (KeyError, TypeError, ValueError):
            return None

    def text(self, name: str) -> str:
        return str(self.parameters.get(name) or "")

    def flag(self, name: str) -> bool:
        return str(self.parameters.get(name, "")).lower() in ("true", "1")

    def number(self, name: str, default: int | None = None) -> int:
        """A whole number. Raises RefusedError where it is missing and has no default, or is something else."""
        value = self.parameters.get(name)
        if value in (None, ""):
            if default is None:
                raise bad_request(f'parameter "{name}" is required')
            return default
        try:
            return int(value)
        except (TypeError, ValueError) as error:
            raise bad_request(f'field "{name}" must be of type Number') from error

    def optional_number(self, name: str) -> int | None:
        return None if self.parameters.get(name) in (None, "") else self.number(name)

    def json(self, name: str, kind: type, default: Any = None) -> Any:
        """A list or an object. Raises RefusedError where it is no JSON or the other of the two."""
        value = self.parameters.get(name)
        if value in (None, ""):
            return default
        try:
            parsed = json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise bad_request(f"can't parse {name} JSON object") from error
        if not isinstance(parsed, kind):
            raise bad_request(f"field {name!r} must be of type {kind.__name__}")
        return parsed

    def fingerprint(self) -> str:
        """The same for a call and its repetition."""
        names = {name: value for name, value in self.parameters.items() if not str(value).startswith("attach://")}
        return f"{self.method} {json.dumps(names, sort_keys=True)}"


async def read_call(method: str, request: web.Request) -> Call:
    """The call of a request. Raises RefusedError for a body that is neither a form nor JSON."""
    parameters: dict[str, Any] = dict(request.query)
    uploads: dict[str, Upload] = {}
    if request.content_type == "application/json" and request.can_read_body:
        try:
            parameters |= await request.json()
        except (ValueError, TypeError) as error:
            raise bad_request("can't parse JSON") from error
        return Call(method, parameters)
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            uploads[name] = Upload(value.filename, value.file.read())
        else:
            parameters[name] = value
    return Call(method, parameters, uploads)
