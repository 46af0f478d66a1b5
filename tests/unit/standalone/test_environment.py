"""What the children are told."""

import os
from pathlib import Path

import pytest

from ai_assistant.errors import ConfigurationError
from ai_assistant.settings import GatewaySettings, StandaloneSettings, WorkerSettings
from ai_assistant.standalone.environment import (
    bot_environment,
    bot_key,
    common_environment,
    gateway_environment,
    make_plan,
    reachable,
    worker_environment,
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("AI_ASSISTANT_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_children_read_what_the_supervisor_decided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AI_ASSISTANT_API_KEYS", "alice:one")
    monkeypatch.setenv("AI_ASSISTANT_SERVICE_KEYS", "mail:two")
    monkeypatch.setenv("AI_ASSISTANT_TELEGRAM_TOKEN", "1:x")
    plan = make_plan(StandaloneSettings.load(model="file:///m.gguf"), tmp_path, 8000, 8001)
    common = common_environment(plan, "postgresql://db", "redis://queue")
    key = bot_key(plan)
    assert key is not None
    gateway = gateway_environment(plan, common, key)
    bot = bot_environment(plan, common, key)
    for name, value in gateway.items():
        monkeypatch.setenv(name, value)
    settings = GatewaySettings.load()
    assert (settings.port, settings.internal_port, settings.assistant) == (8000, 8001, "assistant")
    assert settings.database_url.get_secret_value() == "postgresql://db"
    assert [(item.name, item.key.get_secret_value()) for item in settings.service_keys] == [("mail", "two"), ("bot", key)]
    ports = (plan.worker_metrics_port, plan.bot_health_port)
    assert settings.metrics_include == [f"http://127.0.0.1:{port}/metrics" for port in ports]
    assert bot["AI_ASSISTANT_TELEGRAM_HEALTH_PORT"] == str(plan.bot_health_port)
    assert bot["AI_ASSISTANT_GATEWAY_KEY"] == key
    assert common["AI_ASSISTANT_MODEL"] == "file:///m.gguf"


def test_bot_needs_no_key_where_the_gateway_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AI_ASSISTANT_TELEGRAM_TOKEN", "1:x")
    plan = make_plan(StandaloneSettings.load(), tmp_path, 8000, 8001)
    assert bot_key(plan) is None


@pytest.mark.parametrize(("given", "drain"), [(None, "1.0"), ("30", "30.0")])
def test_worker_drains_for_a_second_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str | None, drain: str
) -> None:
    if given:
        monkeypatch.setenv("AI_ASSISTANT_DRAIN_SECONDS", given)
    plan = make_plan(StandaloneSettings.load(), tmp_path, 8000, 8001)
    assert worker_environment(plan, {}, tmp_path)["AI_ASSISTANT_DRAIN_SECONDS"] == drain


def test_address_to_speak_to() -> None:
    assert [reachable(host) for host in ("0.0.0.0", "::", "::1", "10.0.0.1")] == ["127.0.0.1", "[::1]", "[::1]", "10.0.0.1"]


def test_with_a_model_server_the_worker_gets_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AI_ASSISTANT_REMOTE_URL", "http://127.0.0.1:8080/v1/")
    plan = make_plan(StandaloneSettings.load(model="remote"), tmp_path, 8000, 8001)
    environment = worker_environment(plan, common_environment(plan, "postgresql://db", "redis://queue"), None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert WorkerSettings.load().remote_url == "http://127.0.0.1:8080/v1"


def test_a_model_on_the_command_line_must_agree_with_the_model_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AI_ASSISTANT_REMOTE_URL", "http://127.0.0.1:8080/v1")
    with pytest.raises(ConfigurationError, match="both set"):
        make_plan(StandaloneSettings.load(model="file:///m.gguf"), tmp_path, 8000, 8001)
