"""Who gets in: the table of Host and Origin, public addresses, sessions only from our own page."""

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers

from ai_assistant.errors import ForbiddenError, UnauthorizedError
from ai_assistant.gateway.access import AccessMiddleware, ServiceTokenMiddleware, is_loopback
from ai_assistant.gateway.authentication import LOCAL_PRINCIPAL, SESSION_COOKIE, Keyring
from ai_assistant.setting_values import ApiKey


async def nothing(scope: object, receive: object, send: object) -> None:
    raise AssertionError


KEYRING = Keyring([ApiKey(name="alice", key=SecretStr("wonderland"))], [])


def local(*allowed: str) -> AccessMiddleware:
    return AccessMiddleware(nothing, Keyring([], []), allowed)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "127.0.0.1",
        "127.0.0.1:8000",
        "127.9.9.9:1",
        "[::1]",
        "[::1]:8000",
        "chat.home",
        "Chat.Home:80",
    ],
)
def test_without_keys_this_machine(host: str) -> None:
    assert local("chat.home").admit("GET", "/", Headers({"host": host})) == LOCAL_PRINCIPAL


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1:8000", "0.0.0.0", "[::]", "a@localhost.x",
     "[::1", "localhost:99999", "localhost:x", "2130706433"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/static/x/y.js", "/api/chat", "/livez", "/docs"])
def test_without_keys_no_other_name(host: str, path: str) -> None:
    with pytest.raises(ForbiddenError, match="AI_ASSISTANT_API_KEYS"):
        local("chat.home").admit("GET", path, Headers({"host": host}))


@pytest.mark.parametrize(
    ("origin", "admitted"),
    [
        (None, True),
        ("http://localhost:8000", True),
        ("http://127.0.0.1:3000", True),
        ("http://[::1]:8000", True),
        ("https://chat.home", True),
        ("http://evil.example", False),
        ("http://localhost.evil.example", False),
        ("null", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_without_keys_no_foreign_page(origin: str | None, admitted: bool) -> None:
    headers = Headers({"host": "localhost:8000"} | ({"origin": origin} if origin is not None else {}))
    if admitted:
        assert local("chat.home").admit("POST", "/api/chat", headers) == LOCAL_PRINCIPAL
    else:
        with pytest.raises(ForbiddenError):
            local("chat.home").admit("POST", "/api/chat", headers)


@pytest.mark.parametrize("path", ["/", "/static/0/app.js", "/docs", "/openapi.json", "/livez", "/readyz", "/api/session"])
def test_public_addresses(path: str) -> None:
    assert AccessMiddleware(nothing, KEYRING, ()).admit("GET", path, Headers({"host": "chat.example"})) is None


@pytest.mark.parametrize("path", ["/api/chat", "/api/conversations", "/v1/models", "/api/sessions", "/x", "/static", "//"])
def test_everything_else_needs_a_key(path: str) -> None:
    access = AccessMiddleware(nothing, KEYRING, ())
    for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": f"{SESSION_COOKIE}=x.y.z"}, {"cookie": "=;=\x01"}):
        with pytest.raises(UnauthorizedError):
            access.admit("GET", path, Headers(headers))
    principal = access.admit("GET", path, Headers({"authorization": "Bearer wonderland"}))
    assert principal is not None
    assert principal.name == "alice"


@pytest.mark.parametrize(
    ("headers", "admitted"),
    [
        ({}, True),
        ({"origin": "https://chat.example"}, True),
        ({"origin": "https://chat.example:443"}, True),
        ({"origin": "https://front.example", "x-forwarded-host": "front.example"}, True),
        ({"origin": "https://allowed.example:8443"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "https://chat.example:8443"}, False),
        ({"origin": "null"}, False),
    ],
)
def test_a_session_is_used_by_our_own_page_only(headers: dict[str, str], admitted: bool) -> None:
    access = AccessMiddleware(nothing, KEYRING, ["allowed.example"])
    cookie = f"other=1; {SESSION_COOKIE}={KEYRING.make_session('wonderland')}"
    given = Headers({"host": "chat.example", "cookie": cookie} | headers)
    assert access.admit("GET", "/api/conversations", given) is not None
    if admitted:
        assert access.admit("DELETE", "/api/conversations/1", given) is not None
    else:
        with pytest.raises(ForbiddenError):
            access.admit("DELETE", "/api/conversations/1", given)


@pytest.mark.parametrize("other", ["1", '{"a":1}', "a b", '[]="', "ü", '"'])
def test_a_session_beside_cookies_of_other_programs(other: str) -> None:
    cookie = f"other={other}; x[y]=1; {SESSION_COOKIE}={KEYRING.make_session('wonderland')}; {other}"
    headers = Headers({"host": "localhost:8000", "cookie": cookie})
    assert AccessMiddleware(nothing, KEYRING, ()).admit("GET", "/api/conversations", headers) is not None


def test_a_key_may_come_from_any_page() -> None:
    headers = Headers({"host": "chat.example", "origin": "https://other.example", "authorization": "Bearer wonderland"})
    assert AccessMiddleware(nothing, KEYRING, ()).admit("POST", "/api/chat", headers) is not None


def test_service_token() -> None:
    with pytest.raises(ForbiddenError, match="AI_ASSISTANT_SERVICE_TOKEN"):
        ServiceTokenMiddleware(nothing, None).admit(Headers({"authorization": "Bearer "}))
    guarded = ServiceTokenMiddleware(nothing, "secret")
    guarded.admit(Headers({"authorization": "Bearer secret"}))
    for wrong in ({}, {"authorization": "secret"}, {"authorization": "Bearer Secret"}, {"authorization": "Basic secret"}):
        with pytest.raises(UnauthorizedError):
            guarded.admit(Headers(wrong))


LOOPBACK = {"127.0.0.1": True, "::1": True, "localhost": True, "0.0.0.0": False, "::": False, "": False, "a.org": False}


@pytest.mark.parametrize(("host", "loopback"), LOOPBACK.items())
def test_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
