"""What people type wrong, and what must never be shown."""

import os
from pathlib import Path

import pytest

from ai_assistant.errors import ConfigurationError
from ai_assistant.settings import (
    PROCESSES,
    BotSettings,
    ClientSettings,
    GatewaySettings,
    StandaloneSettings,
    WorkerSettings,
    known_names,
)

SECRET = "s3cr3t-value"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working folder, and no settings."""
    for name in os.environ:
        if name.upper().startswith("AI_ASSISTANT_") or name in ("PORT", "INTERNAL_PORT"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def message(process: type = GatewaySettings) -> str:
    with pytest.raises(ConfigurationError) as caught:
        process.load()
    return caught.value.message


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("AI_ASSISTANT_API_KEY", "AI_ASSISTANT_API_KEYS"),
        ("AI_ASSISTANT_DATABSE_URL", "AI_ASSISTANT_DATABASE_URL"),
        ("AI_ASSISTANT_PROT", "AI_ASSISTANT_PORT"),
        ("ai_assistant_log_levl", "AI_ASSISTANT_LOG_LEVEL"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest_known_one(monkeypatch: pytest.MonkeyPatch, given: str, near: str) -> None:
    monkeypatch.setenv(given, SECRET)
    assert message() == f"{given} is not a setting of ai-assistant. Did you mean {near}?"


def test_nothing_is_guessed_for_a_name_that_is_like_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_ASSISTANT_QQQQQ", "1")
    assert message() == "AI_ASSISTANT_QQQQQ is not a setting of ai-assistant."


def test_settings_of_other_processes_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_ASSISTANT_SLOTS", "4")
    monkeypatch.setenv("AI_ASSISTANT_TELEGRAM_TOKEN", SECRET)
    assert GatewaySettings.load().port == 8000
    assert WorkerSettings.load().slots == 4


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AI_ASSISTANT_PORT", "eighty", "AI_ASSISTANT_PORT: input should be a valid integer"),
        ("PORT", "70000", "PORT: input should be less than or equal to 65535"),
        ("AI_ASSISTANT_TEMPERATURE", "nan", "AI_ASSISTANT_TEMPERATURE: input should be"),
        ("AI_ASSISTANT_TASK_SECONDS", "inf", "AI_ASSISTANT_TASK_SECONDS: input should be less than"),
        ("AI_ASSISTANT_LOG_LEVEL", "loud", "AI_ASSISTANT_LOG_LEVEL: input should be 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_a_wrong_value_is_a_sentence_with_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    assert words in message()


def test_all_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_ASSISTANT_PORT", "x")
    monkeypatch.setenv("AI_ASSISTANT_MAX_TOKENS", "0")
    assert "AI_ASSISTANT_PORT" in message()
    assert "AI_ASSISTANT_MAX_TOKENS" in message()


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_secrets_do_not_show_in_repr(monkeypatch: pytest.MonkeyPatch, process: type) -> None:
    for name in ("API_KEYS", "SERVICE_KEYS", "SERVICE_TOKEN", "TELEGRAM_TOKEN", "TELEGRAM_PROXY", "GATEWAY_KEY"):
        monkeypatch.setenv(f"AI_ASSISTANT_{name}", SECRET)
    monkeypatch.setenv("AI_ASSISTANT_DATABASE_URL", f"postgresql://a:{SECRET}@b/c")
    monkeypatch.setenv("AI_ASSISTANT_REDIS_URL", f"redis://:{SECRET}@b/0")
    settings = process.load()
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()


@pytest.mark.parametrize("keys", [f"alice:{SECRET} {SECRET}", f"{SECRET},bob:", f":{SECRET}", f"{SECRET}ключ"])
def test_a_wrong_key_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    monkeypatch.setenv("AI_ASSISTANT_API_KEYS", keys)
    with pytest.raises(ConfigurationError, match=r"AI_ASSISTANT_API_KEYS: item [12] should be") as caught:
        GatewaySettings.load()
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.__cause__)


def test_keys_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_ASSISTANT_API_KEYS", " first , alice:with:colons,,")
    keys = GatewaySettings.load().api_keys
    assert [(key.name, key.key.get_secret_value()) for key in keys] == [("key1", "first"), ("alice", "with:colons")]


def test_lists_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_ASSISTANT_ALLOWED_HOSTS", "one, two,")
    assert GatewaySettings.load().allowed_hosts == ["one", "two"]
    assert GatewaySettings.load(allowed_hosts=["three"]).allowed_hosts == ["three"]


def test_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(f'# comment\nAI_ASSISTANT_SLOTS=3\nAI_ASSISTANT_THREADS=\nPOSTGRES_PASSWORD="{SECRET}"\nPORT=9000\n')
    assert WorkerSettings.load().slots == 3
    assert WorkerSettings.load().threads is None
    assert GatewaySettings.load().port == 9000
    monkeypatch.setenv("AI_ASSISTANT_SLOTS", "5")
    assert WorkerSettings.load().slots == 5


def test_an_unknown_name_in_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("AI_ASSISTANT_SLOT=3\n")
    assert "Did you mean AI_ASSISTANT_SLOTS?" in message(BotSettings)


def test_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GatewaySettings.load().internal_address == ("127.0.0.1", 8001)
    monkeypatch.setenv("PORT", "9000")
    assert GatewaySettings.load().internal_address == ("127.0.0.1", 9001)
    assert ClientSettings.load().url == "http://127.0.0.1:9000"
    monkeypatch.setenv("INTERNAL_PORT", "7000")
    assert StandaloneSettings.load().internal_address == ("127.0.0.1", 7000)
    monkeypatch.setenv("AI_ASSISTANT_PORT", "9100")
    assert GatewaySettings.load().port == 9100
    monkeypatch.setenv("AI_ASSISTANT_INTERNAL_HOST", "10.0.0.1")
    assert GatewaySettings.load().internal_address == ("10.0.0.1", 7000)


def test_port_zero_takes_free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "0")
    assert GatewaySettings.load().internal_address == ("127.0.0.1", 0)


def test_known_names_are_those_of_all_processes() -> None:
    assert {"AI_ASSISTANT_PORT", "AI_ASSISTANT_SLOTS", "AI_ASSISTANT_DATA_DIR", "AI_ASSISTANT_GATEWAY_KEY"} <= known_names()


def test_a_dotenv_file_in_another_encoding() -> None:
    Path(".env").write_bytes("AI_ASSISTANT_INSTRUCTIONS=привет\n".encode("cp1251"))
    with pytest.raises(ConfigurationError, match=r"\.env is not valid UTF-8"):
        GatewaySettings.load()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"MODEL": "remote"}, "AI_ASSISTANT_MODEL is `remote`: set AI_ASSISTANT_REMOTE_URL to the model server's base URL"),
        ({"REMOTE_MODEL": "m"}, "AI_ASSISTANT_REMOTE_MODEL is set without AI_ASSISTANT_REMOTE_URL: set that too, or remove it"),
        (
            {"REMOTE_API_KEY": SECRET},
            "AI_ASSISTANT_REMOTE_API_KEY is set without AI_ASSISTANT_REMOTE_URL: set that too, or remove it",
        ),
        (
            {"REMOTE_URL": "http://a/v1", "MODEL": "hf://b/c"},
            "AI_ASSISTANT_REMOTE_URL and AI_ASSISTANT_MODEL=hf://b/c are both set: remove one of them",
        ),
        (
            {"REMOTE_URL": "http://a/v1", "MODEL_PACKAGE": "/p"},
            "AI_ASSISTANT_REMOTE_URL and AI_ASSISTANT_MODEL_PACKAGE are both set: remove one of them",
        ),
        ({"REMOTE_URL": "a:8080"}, "AI_ASSISTANT_REMOTE_URL: should be a base URL such as http://127.0.0.1:8080/v1"),
        ({"REMOTE_URL": "http://a:x/v1"}, "AI_ASSISTANT_REMOTE_URL: should be a base URL such as http://127.0.0.1:8080/v1"),
        ({"REMOTE_URL": "http://a:80"}, "AI_ASSISTANT_REMOTE_URL: the path is missing; most servers want http://a:80/v1"),
        (
            {"REMOTE_URL": f"http://me:{SECRET}@a/v1"},
            "AI_ASSISTANT_REMOTE_URL: leave the password away; a key belongs into AI_ASSISTANT_REMOTE_API_KEY",
        ),
        (
            {"REMOTE_URL": "http://a/v1/chat/completions"},
            "AI_ASSISTANT_REMOTE_URL: should be the base URL only, without /chat/completions and without ?",
        ),
        (
            {"REMOTE_URL": "http://a/v1", "REMOTE_API_KEY": f"{SECRET} "},
            "AI_ASSISTANT_REMOTE_API_KEY: the key should be ASCII letters, digits and signs, without spaces",
        ),
    ],
)
def test_a_model_server_is_described_wholly(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], sentence: str) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"AI_ASSISTANT_{name}", value)
    assert message(WorkerSettings) == sentence
