"""Who gets in. Everything but a short list of public addresses needs a key or a session, so that a new route is never open
by mistake. Without keys the gateway trusts the machine it runs on, but not web pages that a browser there has open:
they are told apart by the names in Host and Origin (DNS rebinding).
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from ai_assistant.errors import AssistantError, ForbiddenError, UnauthorizedError
from ai_assistant.gateway.authentication import LOCAL_PRINCIPAL, SESSION_COOKIE, Keyring, Principal
from ai_assistant.gateway.error_handlers import response_for

PUBLIC = {"/", "/docs", "/openapi.json", "/livez", "/readyz", "/api/session"}
PUBLIC_PREFIX = "/static/"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
DEFAULT_PORTS = {"http": 80, "https": 443}


class AccessMiddleware:
    """Puts the Principal into `scope["principal"]` (None for a stranger at a public address), or answers 401 or 403."""

    def __init__(self, app: ASGIApp, keyring: Keyring, allowed_hosts: Collection[str]) -> None:
        self.app = app
        self.keyring = keyring
        self.allowed_hosts = {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            scope["principal"] = self.admit(scope["method"], scope["path"], Headers(scope=scope))
        except AssistantError as error:
            await response_for(scope, error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def admit(self, method: str, path: str, headers: Headers) -> Principal | None:
        """Raises UnauthorizedError or ForbiddenError."""
        if not self.keyring.is_required:
            check_local(headers, self.allowed_hosts)
            return LOCAL_PRINCIPAL
        if "authorization" not in headers and method not in SAFE_METHODS:
            check_same_origin(headers, self.allowed_hosts)
        try:
            return self.identify(headers)
        except UnauthorizedError:
            if path in PUBLIC or path.startswith(PUBLIC_PREFIX):
                return None
            raise

    def identify(self, headers: Headers) -> Principal:
        if (bearer := headers.get("authorization")) is not None:
            return self.keyring.by_bearer(bearer)
        if (session := session_cookie(headers)) is not None:
            return self.keyring.by_session(session)
        raise UnauthorizedError


class ServiceTokenMiddleware:
    """/internal needs the service token; metrics and health do not."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app = app
        self.digest = hashlib.sha256(token.encode()).digest() if token else None
        self.principal = Principal("internal", "internal", is_service=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/internal"):
            try:
                self.admit(Headers(scope=scope))
            except AssistantError as error:
                await response_for(scope, error)(scope, receive, send)
                return
        scope["principal"] = self.principal
        await self.app(scope, receive, send)

    def admit(self, headers: Headers) -> None:
        """Raises ForbiddenError or UnauthorizedError."""
        if self.digest is None:
            raise ForbiddenError("/internal is closed: set AI_ASSISTANT_SERVICE_TOKEN to open it.")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogatepass")).digest()
        if not hmac.compare_digest(digest, self.digest) or scheme.lower() != "bearer":
            raise UnauthorizedError("Send the service token as `Authorization: Bearer TOKEN`.")


def session_cookie(headers: Headers) -> str | None:
    for header in headers.getlist("cookie"):
        # as browsers write them: other programs on this host may have set cookies that Python's own parser gives up at
        if (session := cookie_parser(header).get(SESSION_COOKIE)) is not None:
            return session
    return None


def check_local(headers: Headers, allowed: Collection[str]) -> None:
    """Host and Origin must name this machine. Raises ForbiddenError."""
    host = split(f"//{headers.get('host', '')}")
    if not is_local(host, allowed):
        raise ForbiddenError(
            "This gateway has no keys and answers only to localhost. To use another name, set AI_ASSISTANT_API_KEYS, "
            "or add the name to AI_ASSISTANT_ALLOWED_HOSTS."
        )
    origin = headers.get("origin")
    if origin is not None and not is_local(split(origin), allowed):
        raise ForbiddenError("This gateway has no keys and does not answer to other web pages.")


def check_same_origin(headers: Headers, allowed: Collection[str]) -> None:
    """A request that a browser vouches for by its cookie must come from our own page. Raises ForbiddenError."""
    origin = headers.get("origin")
    if origin is None:
        return
    source = split(origin)
    if source is not None and source.hostname in allowed:
        return
    # behind a proxy our name is in X-Forwarded-Host, which a foreign page cannot send
    for name in (headers.get("host"), headers.get("x-forwarded-host")):
        target = split(f"//{name}") if name else None
        if source is not None and target is not None and address(source) == address(target, source.scheme):
            return
    raise ForbiddenError("This request comes from another web page.")


def split(url: str) -> SplitResult | None:
    """None for what is not a URL with a host."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and (parts.port is None or parts.port > 0) else None
    except ValueError:
        return None


def address(parts: SplitResult, scheme: str | None = None) -> tuple[str | None, int | None]:
    return parts.hostname, parts.port or DEFAULT_PORTS.get(scheme or parts.scheme)


def is_local(parts: SplitResult | None, allowed: Collection[str]) -> bool:
    name = parts.hostname if parts is not None else None
    return name is not None and (name in allowed or is_loopback(name))


def is_loopback(name: str) -> bool:
    """Whether a host name or address means this machine, without asking DNS."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
