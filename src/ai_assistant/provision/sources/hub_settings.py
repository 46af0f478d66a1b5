"""The variables that everything which speaks to a hub of models honours: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ai_assistant.errors import ConfigurationError
from ai_assistant.provision.sources.download import without_credentials

_DEFAULT_ENDPOINT = "https://huggingface.co"
_TRUE = {"1", "ON", "YES", "TRUE"}


@dataclass(frozen=True)
class HubSettings:
    """Where the hub is, who asks, and whether anybody may be asked at all."""

    endpoint: str
    # None: nobody in particular; what is public can be read all the same.
    token: str | None
    is_offline: bool

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> HubSettings:
        """Raises ConfigurationError for an endpoint that is no address and for a token that cannot be sent."""
        endpoint = environment.get("HF_ENDPOINT", "").strip().rstrip("/") or _DEFAULT_ENDPOINT
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise ConfigurationError(f"HF_ENDPOINT is {without_credentials(endpoint)!r}; write it as https://HOST.")
        return cls(
            endpoint=endpoint,
            token=_token(environment),
            is_offline=environment.get("HF_HUB_OFFLINE", "").upper() in _TRUE,
        )


def _token(environment: Mapping[str, str]) -> str | None:
    token = (environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN") or _saved_token(environment)).strip()
    if not (token.isascii() and token.replace(" ", "-").isprintable()):
        raise ConfigurationError("HF_TOKEN holds characters that no token has; copy it again.")
    return token or None


def _saved_token(environment: Mapping[str, str]) -> str:
    """What `hf auth login` has saved."""
    home = Path(environment.get("HF_HOME") or Path(environment.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"))
    try:
        return Path(environment.get("HF_TOKEN_PATH") or home / "token").expanduser().read_text(encoding="utf-8")
    except (OSError, RuntimeError, UnicodeDecodeError):
        return ""
