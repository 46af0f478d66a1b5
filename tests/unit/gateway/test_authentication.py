"""Keys and sessions."""

import pytest
from pydantic import SecretStr

from ai_assistant.errors import ForbiddenError, InvalidRequestError, UnauthorizedError
from ai_assistant.gateway.authentication import LOCAL_PRINCIPAL, SESSION_SECONDS, Keyring, Principal
from ai_assistant.setting_values import ApiKey

NOW = 1_800_000_000.0


def keys(**secrets: str) -> list[ApiKey]:
    return [ApiKey(name=name, key=SecretStr(secret)) for name, secret in secrets.items()]


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(keys(alice="wonderland", key2="second"), keys(bot="service"))


def test_bearer(keyring: Keyring) -> None:
    assert keyring.by_bearer("Bearer wonderland") == Principal("alice", "key:alice", is_service=False)
    assert keyring.by_bearer("bearer  service ") == Principal("bot", "key:bot", is_service=True)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic wonderland", "wonderland", "Bearer Wonderland", "Bearer \xff"]
)
def test_bearer_refused(keyring: Keyring, header: str) -> None:
    with pytest.raises(UnauthorizedError):
        keyring.by_bearer(header)


def test_no_key_is_kept_in_the_clear(keyring: Keyring) -> None:
    assert b"wonderland" not in repr(keyring._keys).encode()


def test_session_works_on_every_replica_and_dies_with_its_key(keyring: Keyring) -> None:
    cookie = keyring.make_session("wonderland", now=NOW)
    replica = Keyring(keys(alice="wonderland"), [])
    assert replica.by_session(cookie, now=NOW).user == "key:alice"
    for other in (Keyring(keys(alice="changed"), []), Keyring(keys(mallory="wonderland"), []), Keyring([], [])):
        with pytest.raises(UnauthorizedError):
            other.by_session(cookie, now=NOW)


def test_session_while_a_key_is_replaced(keyring: Keyring) -> None:
    cookie = keyring.make_session("wonderland", now=NOW)
    both = Keyring([*keys(alice="new"), *keys(alice="wonderland")], [])
    assert both.by_session(cookie, now=NOW).name == "alice"


def test_session_ends(keyring: Keyring) -> None:
    cookie = keyring.make_session("wonderland", now=NOW)
    assert keyring.by_session(cookie, now=NOW + SESSION_SECONDS - 1)
    with pytest.raises(UnauthorizedError):
        keyring.by_session(cookie, now=NOW + SESSION_SECONDS + 1)


def test_session_of_any_name() -> None:
    keyring = Keyring([ApiKey(name="Алиса. Б; в=", key=SecretStr("k"))], [])
    cookie = keyring.make_session("k", now=NOW)
    assert cookie.isascii()
    assert not set(cookie) & set('; ,"\\')
    assert keyring.by_session(cookie, now=NOW).name == "Алиса. Б; в="


def test_forged_sessions(keyring: Keyring) -> None:
    name, expiry, mac = keyring.make_session("wonderland", now=NOW).split(".")
    bot = keyring.make_session("service", now=NOW).split(".")[0]
    forgeries = ["", "..", "a.b.c", f"{name}.{int(expiry) + 1}.{mac}", f"{bot}.{expiry}.{mac}", f"{name}.{expiry}.{mac[:-1]}"]
    for forged in [
        *forgeries,
        f"{name}.{expiry}.{mac}.x",
        f"{name}.{expiry}.é",
        f"é.{expiry}.{mac}",
        f"{name}.{'9' * 5000}.{mac}",
    ]:
        with pytest.raises(UnauthorizedError):
            keyring.by_session(forged, now=NOW)


def test_user_for() -> None:
    person, service = Principal("alice", "key:alice", is_service=False), Principal("bot", "key:bot", is_service=True)
    assert person.user_for(None) == person.user_for("key:alice") == "key:alice"
    assert service.user_for(None) == "key:bot"
    assert service.user_for("tg:1") == LOCAL_PRINCIPAL.user_for("tg:1") == "tg:1"
    with pytest.raises(ForbiddenError, match="service key"):
        person.user_for("tg:1")


@pytest.mark.parametrize("user_id", ["", "a\x00b", "a\nb", "\x7f", "\ud800", "x" * 256])
def test_user_ids_that_are_none(user_id: str) -> None:
    with pytest.raises(InvalidRequestError):
        LOCAL_PRINCIPAL.user_for(user_id)
