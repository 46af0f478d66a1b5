"""What this process is told by its environment, once, at the start."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Variables `AI_ASSISTANT_OPERATOR_*`. Only the entry point builds this."""

    model_config = SettingsConfigDict(env_prefix="AI_ASSISTANT_OPERATOR_", extra="forbid", frozen=True)

    namespace: str = Field(min_length=1)
    """The one namespace that is watched and written."""
    install: str = Field(min_length=1)
    """The release whose pod templates are used; part of the Lease's name, so installs live side by side."""
    identity: str = Field(min_length=1)
    """The name of this replica; the pod's name."""
    gateway_url: str
    """The gateway's second port, such as http://ai-assistant-gateway:9090."""
    gateway_token_file: Path | None = None
    """A file with the service token; it is read anew when it changes."""
    kubeconfig: Path | None = None
    """Instead of the pod's own account; for development."""
    workers: int = Field(8, ge=1, le=64)
    """Assistants that are reconciled at the same time."""
    requests: int = Field(32, ge=2, le=256)
    """Requests to the API server at the same time."""
    port: int = Field(8080, ge=0, le=65535)
    """Probes and metrics."""
    host: str = "0.0.0.0"  # noqa: S104
    """Where the port listens; a pod's probes come from outside of it."""
    lease_seconds: float = Field(10.0, ge=3, le=60)
    """How long a crashed leader keeps its standby waiting."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("gateway_url")
    @classmethod
    def is_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give the gateway's address as http://HOST:PORT")
        return value
