"""Who is asking: bearer keys, the page's session cookie, or, without keys, anybody on this machine."""

import base64
import binascii
import hashlib
import hmac
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from ai_assistant.errors import ForbiddenError, InvalidRequestError, UnauthorizedError
from ai_assistant.setting_values import ApiKey

LOCAL = "local"
SESSION_COOKIE = "ai_assistant_session"
SESSION_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Principal:
    """Who sends a request: the holder of a key, or `local` where there are no keys."""

    name: str
    user: str
    """External id of its own user."""
    is_service: bool
    """May act for any user by `user_id`."""

    def user_for(self, user_id: str | None) -> str:
        """External id of the user that a request is about. Raises ForbiddenError, InvalidRequestError."""
        if user_id is None or user_id == self.user:
            return self.user
        if not self.is_service:
            raise ForbiddenError("Only a service key may name another user by `user_id`.")
        if not user_id or len(user_id) > 255 or any(unicodedata.category(char) in ("Cc", "Cs") for char in user_id):
            raise InvalidRequestError("`user_id` must have 1 to 255 characters and no control characters.")
        return user_id

    def require_service(self, sentence: str) -> None:
        """Raises ForbiddenError, with the sentence, for anybody else."""
        if not self.is_service:
            raise ForbiddenError(sentence)


LOCAL_PRINCIPAL = Principal(LOCAL, LOCAL, is_service=True)


@dataclass(frozen=True)
class _Key:
    principal: Principal
    digest: bytes
    session_secret: bytes
    """Derived from the key: a session is valid on every replica and dies with its key."""


class Keyring:
    """The configured keys. Every check takes the same time, whichever key it is, and none is kept in the clear."""

    def __init__(self, api_keys: Iterable[ApiKey], service_keys: Iterable[ApiKey]) -> None:
        self._keys = [_remember(key, is_service=False) for key in api_keys]
        self._keys += [_remember(key, is_service=True) for key in service_keys]

    @property
    def is_required(self) -> bool:
        return bool(self._keys)

    def by_key(self, secret: str) -> Principal:
        """Raises UnauthorizedError."""
        return self._find(secret).principal

    def by_bearer(self, header: str) -> Principal:
        """From the value of an Authorization header. Raises UnauthorizedError."""
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise UnauthorizedError
        return self.by_key(secret.strip())

    def make_session(self, secret: str, *, now: float | None = None) -> str:
        """Cookie value `name.expiry.hmac` for the holder of a key. Raises UnauthorizedError."""
        key = self._find(secret)
        expiry = int((time.time() if now is None else now) + SESSION_SECONDS)
        return f"{_encode(key.principal.name)}.{expiry}.{_session_mac(key, expiry)}"

    def by_session(self, cookie: str, *, now: float | None = None) -> Principal:
        """Raises UnauthorizedError."""
        try:
            name, digits, mac = cookie.split(".")
            decoded, expiry = _decode(name), int(digits)
        except ValueError as error:
            raise UnauthorizedError from error
        found = None
        for key in self._keys:
            # several keys may share a name while one replaces another
            same = hmac.compare_digest(_session_mac(key, expiry).encode(), mac.encode("utf-8", "surrogatepass"))
            if same and key.principal.name == decoded:
                found = key
        if found is None or expiry < (time.time() if now is None else now):
            raise UnauthorizedError("This session has ended; sign in with an API key again.")
        return found.principal

    def _find(self, secret: str) -> _Key:
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            raise UnauthorizedError
        return found


def _remember(key: ApiKey, *, is_service: bool) -> _Key:
    secret = key.key.get_secret_value().encode()
    return _Key(
        principal=Principal(key.name, f"key:{key.name}", is_service),
        digest=hashlib.sha256(secret).digest(),
        session_secret=hmac.new(secret, b"ai-assistant session", hashlib.sha256).digest(),
    )


def _session_mac(key: _Key, expiry: int) -> str:
    message = f"{_encode(key.principal.name)}.{expiry}".encode()
    return hmac.new(key.session_secret, message, hashlib.sha256).hexdigest()


def _encode(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _decode(name: str) -> str:
    try:
        return base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except (binascii.Error, UnicodeError) as error:
        raise ValueError("not a name") from error
