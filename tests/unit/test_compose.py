"""docker-compose.yml against the settings, the Dockerfile and itself. Nothing is started here."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ai_assistant import reference
from ai_assistant.settings import (
    PREFIX,
    PROCESSES,
    GatewaySettings,
    LogSettings,
    ModelSettings,
    PlatformSettings,
    WorkerSettings,
    known_names,
)
from unit.dockerfile import stages

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("gateway", "worker", "bot", "migrate", "model")
ONE_SHOT = ("migrate", "model")
SETTINGS: dict[str, type[LogSettings]] = {
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
    "bot": PROCESSES["bot"],
    "migrate": PlatformSettings,
    "model": ModelSettings,
}
# A container has no environment for exports, its model store is a volume and not in a data folder, and the worker's network
# has no way out to a model server elsewhere.
NOT_IN_A_CONTAINER = {name for name in WorkerSettings.model_fields if name.startswith("remote_")} | {"export_python", "data_dir"}
NOT_PASSED_ON = {"gateway": {"internal_host"}, "worker": {"model_package", "worker_id"} | NOT_IN_A_CONTAINER, "bot": set[str]()}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^{}]*))?\}")
REQUIRED = {"POSTGRES_PASSWORD": "pw", "AI_ASSISTANT_API_KEYS": "alice:key"}


class MissingError(Exception):
    """What compose ends with when a required variable is unset."""


def interpolate(value: Any, given: dict[str, str]) -> Any:
    """What compose makes of `${NAME}`, `${NAME:-default}` and `${NAME:?sentence}`."""

    def replace(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if given.get(name):
            return given[name]
        if kind == ":?":
            raise MissingError(text)
        return text or ""

    if isinstance(value, dict):
        return {key: interpolate(item, given) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, given) for item in value]
    return VARIABLE.sub(replace, value) if isinstance(value, str) else value


def variables(value: Any) -> set[tuple[str, str | None, str | None]]:
    """(name, `:-` or `:?` or None, text) of all variables below `value`."""
    if isinstance(value, dict):
        return {found for item in value.values() for found in variables(item)}
    if isinstance(value, list):
        return {found for item in value for found in variables(item)}
    return set(VARIABLE.findall(value)) if isinstance(value, str) else set()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(PREFIX) or name in ("PORT", "INTERNAL_PORT"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def load(service: str, monkeypatch: pytest.MonkeyPatch, **given: str) -> Any:
    """The settings that the process in `service` would have."""
    for name, value in interpolate(SERVICES[service]["environment"], REQUIRED | given).items():
        monkeypatch.setenv(name, value)
    return SETTINGS[service].load()


@pytest.mark.parametrize("service", OURS)
def test_names_are_fields_of_the_process(service: str) -> None:
    names = [name for name in SERVICES[service]["environment"] if name.startswith(PREFIX)]
    assert [name for name in names if name.removeprefix(PREFIX).lower() not in SETTINGS[service].model_fields] == []


@pytest.mark.parametrize("service", NOT_PASSED_ON)
def test_every_setting_reaches_its_process(service: str) -> None:
    given = {name.removeprefix(PREFIX).lower() for name in SERVICES[service]["environment"]}
    assert set(SETTINGS[service].model_fields) - given == NOT_PASSED_ON[service]


def test_variables_are_in_env_example() -> None:
    example = set(re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert {name for name in example if name.startswith(PREFIX)} == known_names()
    assert {name for name, _, _ in variables(COMPOSE)} - example == {"PIP_INDEX_URL", "HTTPS_PROXY"}


def test_defaults_agree_with_env_example() -> None:
    example = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    differ = {name: text for name, kind, text in variables(COMPOSE) if text and kind == ":-" and text != example[name]}
    assert differ == {
        "AI_ASSISTANT_ASSISTANT": "assistant",
        "AI_ASSISTANT_LOG_FORMAT": "json",
        "AI_ASSISTANT_METRICS_INCLUDE": "http://worker:9100/metrics",
    }


def test_defaults_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = load("gateway", monkeypatch)
    assert (gateway.host, gateway.port, gateway.internal_address) == ("0.0.0.0", 8000, ("0.0.0.0", 8001))
    assert gateway.max_tokens == GatewaySettings.model_fields["max_tokens"].default
    assert gateway.assistant == WorkerSettings.model_fields["assistant"].default


def test_settings_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = load("worker", monkeypatch, AI_ASSISTANT_SLOTS="4")
    assert (worker.slots, worker.threads, worker.model) == (4, None, WorkerSettings.model_fields["model"].default)
    assert worker.database_url.get_secret_value() == "postgresql://assistant:pw@postgres:5432/assistant"


def test_the_bot_has_neither_database_nor_keys_of_others() -> None:
    assert not {"AI_ASSISTANT_DATABASE_URL", "AI_ASSISTANT_REDIS_URL", "AI_ASSISTANT_API_KEYS"} & set(
        SERVICES["bot"]["environment"]
    )
    assert SERVICES["bot"]["profiles"] == ["telegram"]


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_missing_secret_is_a_sentence(missing: str) -> None:
    given = {name: value for name, value in REQUIRED.items() if name != missing}
    with pytest.raises(MissingError, match=f"Set {missing} in .env, see .env.example"):
        interpolate(COMPOSE, given)
    interpolate(COMPOSE, REQUIRED)


def test_secrets_have_no_defaults() -> None:
    fields = {name: field for settings in PROCESSES.values() for name, field in settings.model_fields.items()}
    secrets = {f"{PREFIX}{name.upper()}" for name, field in fields.items() if reference.is_secret(field)} | {"POSTGRES_PASSWORD"}
    assert [name for name, kind, text in variables(COMPOSE) if name in secrets and kind == ":-" and text] == []
    written = {f"{PREFIX}DATABASE_URL", f"{PREFIX}REDIS_URL"}
    for service in SERVICES.values():
        for name in secrets - written & set(service.get("environment", {})):
            assert service["environment"].get(name, "${").startswith("${"), name


def test_images() -> None:
    targets = stages(ROOT / "images/Dockerfile")
    for name, service in SERVICES.items():
        image = interpolate(service["image"], {})
        assert ":" in image, name
        assert not image.endswith(":latest"), name
        assert (name in OURS) == image.startswith("ai-assistant-")
        if name in OURS:
            assert service["build"]["dockerfile"] == "images/Dockerfile"
            assert service["build"]["target"] in targets
            assert image == f"ai-assistant-{service['build']['target']}:dev"


@pytest.mark.parametrize("name", SERVICES)
def test_health_checks_and_restarts(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["healthcheck"] == {"disable": True}, "it ends; its exit code counts"
        assert service["restart"] == "no"
    else:
        assert service["healthcheck"]["test"]
        assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_hardening(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert "privileged" not in service
    assert not service.get("user", "10001").startswith("0")


def test_conditions_fit() -> None:
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            if wanted["condition"] == "service_completed_successfully":
                assert name in ONE_SHOT
            if wanted["condition"] == "service_healthy":
                assert SERVICES[name]["healthcheck"]["test"]


def test_only_the_gateway_is_published_and_only_here() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["gateway"]
    assert interpolate(SERVICES["gateway"]["ports"], {}) == ["127.0.0.1:8000:8000"]


def test_data_is_reachable_from_inside_only() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "valkey", "worker", "migrate"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_volumes_are_named() -> None:
    used = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_the_worker_has_time_to_drain() -> None:
    grace = interpolate(SERVICES["worker"]["stop_grace_period"], {})
    assert int(grace.removesuffix("s")) >= WorkerSettings.model_fields["drain_seconds"].default + 20
