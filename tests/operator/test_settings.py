import pytest
from prometheus_client import generate_latest
from pydantic import ValidationError

from ai_assistant_operator.metrics import Metrics
from ai_assistant_operator.settings import Settings

GIVEN = {"NAMESPACE": "chat", "INSTALL": "release", "IDENTITY": "pod-1", "GATEWAY_URL": "http://gateway:9090"}


def set_all(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in {**GIVEN, **changes}.items():
        monkeypatch.setenv(f"AI_ASSISTANT_OPERATOR_{name}", value)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, WORKERS="3", GATEWAY_TOKEN_FILE="/token")
    settings = Settings()
    assert (settings.namespace, settings.workers, str(settings.gateway_token_file)) == ("chat", 3, "/token")


@pytest.mark.parametrize(
    ("name", "value"),
    [("GATEWAY_URL", "gateway:9090"), ("NAMESPACE", ""), ("WORKERS", "0"), ("LEASE_SECONDS", "1"), ("LOG_LEVEL", "loud")],
)
def test_what_cannot_work_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    set_all(monkeypatch, **{name: value})
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_numbers_of_a_deleted_assistant_are_not_shown_for_ever() -> None:
    metrics = Metrics()
    for name in ("helper", "other"):
        metrics.replicas_desired.labels(name).set(2)
        metrics.decisions.labels(name, "backlog").inc()
    metrics.forget("helper")
    page = generate_latest(metrics.registry).decode()
    assert 'assistant="helper"' not in page
    assert page.count('assistant="other"') >= 2
