"""The environment of the children: ours, with what `ai-assistant up` decides on top."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from ai_assistant.contracts import DEFAULT_ASSISTANT
from ai_assistant.setting_values import ApiKey
from ai_assistant.settings import PREFIX, BotSettings, StandaloneSettings, WorkerSettings
from ai_assistant.standalone.valkey import free_port

DRAIN_SECONDS = 1.0
"""Ctrl-C must not take long; a running answer goes back to the queue and is continued at the next start."""

BOT_DRAIN_SECONDS = 0.4

LOOPBACK = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - not bound here, only spoken to


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first child starts."""

    settings: StandaloneSettings
    worker: WorkerSettings
    bot: BotSettings
    data_dir: Path
    port: int
    internal_port: int
    worker_metrics_port: int
    bot_health_port: int

    @property
    def store(self) -> Path:
        return (self.settings.model_store or self.data_dir / "models").expanduser().absolute()

    @property
    def url(self) -> str:
        """Where people on this machine find the gateway."""
        return f"http://{reachable(self.settings.host)}:{self.port}"

    @property
    def worker_url(self) -> str:
        """Where the worker's probes and metrics are."""
        return f"http://{reachable(self.worker.worker_metrics_host)}:{self.worker_metrics_port}"

    @property
    def bot_url(self) -> str:
        """Where the bot's probes and metrics are."""
        return f"http://{reachable(self.bot.telegram_health_host)}:{self.bot_health_port}"

    @property
    def bot_drain_seconds(self) -> float:
        return self.bot.telegram_drain_seconds if "telegram_drain_seconds" in self.bot.model_fields_set else BOT_DRAIN_SECONDS

    @property
    def drain_seconds(self) -> float:
        return self.worker.drain_seconds if "drain_seconds" in self.worker.model_fields_set else DRAIN_SECONDS


def make_plan(settings: StandaloneSettings, data_dir: Path, port: int, internal_port: int) -> Plan:
    worker, bot = WorkerSettings.load(model=settings.model), BotSettings.load()
    return Plan(
        settings,
        worker,
        bot,
        data_dir,
        port,
        internal_port,
        worker.worker_metrics_port or free_port(),
        bot.telegram_health_port or free_port(),
    )


def reachable(host: str) -> str:
    """The address to speak to a server that listens on `host`, as it stands in a URL."""
    known = LOOPBACK.get(host)
    if known:
        return known
    return f"[{host}]" if ":" in host else host


def common_environment(plan: Plan, database_url: str, redis_url: str) -> dict[str, str]:
    """Environment of gateway, worker, bot and one-off commands."""
    settings = plan.settings
    chosen = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DATA_DIR": str(plan.data_dir),
        "MODEL_STORE": str(plan.store),
        "MODEL": settings.model,
        "PRECISION": settings.precision,
        "DEVICE": settings.device,
        "ASSISTANT": settings.assistant or DEFAULT_ASSISTANT,
        "PORT": str(plan.port),
        "INTERNAL_PORT": str(plan.internal_port),
        "LOG_FORMAT": "json" if settings.log_format == "auto" else settings.log_format,
    }
    if settings.export_python is not None:
        chosen["EXPORT_PYTHON"] = str(settings.export_python)
    return os.environ | {PREFIX + name: value for name, value in chosen.items()} | {"PYTHONUNBUFFERED": "1"}


def gateway_environment(plan: Plan, common: dict[str, str], bot_key: str | None) -> dict[str, str]:
    include = [*plan.settings.metrics_include, f"{plan.worker_url}/metrics"]
    if plan.settings.telegram_token is not None:
        include.append(f"{plan.bot_url}/metrics")
    environment = common | {f"{PREFIX}METRICS_INCLUDE": ",".join(include)}
    if bot_key:
        keys = [*plan.settings.service_keys, ApiKey.model_validate({"name": "bot", "key": bot_key})]
        environment[f"{PREFIX}SERVICE_KEYS"] = ",".join(f"{key.name}:{key.key.get_secret_value()}" for key in keys)
    return environment


def worker_environment(plan: Plan, common: dict[str, str], package: Path | None) -> dict[str, str]:
    """`package`: None where a model server elsewhere computes."""
    return common | {
        f"{PREFIX}MODEL_PACKAGE": str(package or ""),
        f"{PREFIX}WORKER_METRICS_PORT": str(plan.worker_metrics_port),
        f"{PREFIX}DRAIN_SECONDS": str(plan.drain_seconds),
    }


def bot_key(plan: Plan) -> str | None:
    """A service key for our own bot, for this run only; None where the gateway has no keys or the bot has been given one."""
    settings = plan.settings
    if settings.telegram_token is None or not (settings.api_keys or settings.service_keys) or plan.bot.gateway_key:
        return None
    return secrets.token_urlsafe(32)


def bot_environment(plan: Plan, common: dict[str, str], key: str | None) -> dict[str, str]:
    environment = common | {
        f"{PREFIX}GATEWAY_URL": plan.url,
        f"{PREFIX}TELEGRAM_HEALTH_PORT": str(plan.bot_health_port),
        f"{PREFIX}TELEGRAM_DRAIN_SECONDS": str(plan.bot_drain_seconds),
    }
    return environment | {f"{PREFIX}GATEWAY_KEY": key} if key else environment
