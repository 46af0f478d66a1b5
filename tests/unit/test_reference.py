"""The generated files are complete, usable and independent of the machine."""

import os
from pathlib import Path

import pytest
from dotenv import dotenv_values

from ai_assistant import reference
from ai_assistant.settings import PROCESSES, GatewaySettings, known_names

COMPOSE_ONLY = {
    "POSTGRES_PASSWORD",
    "BIND_ADDRESS",
    "PORT",
    "IMAGE_PREFIX",
    "IMAGE_TAG",
    "WORKER_MEMORY",
    "WORKER_STOP_GRACE",
    "HF_TOKEN",
    "HF_ENDPOINT",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("AI_ASSISTANT_") or name in ("PORT", "INTERNAL_PORT"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def example() -> dict[str, str | None]:
    """The variables of .env.example, with the `#` before them removed."""
    lines = reference.env_example().splitlines()
    assert all(line.startswith("#") for line in lines if line), "everything is commented out"
    Path("all.env").write_text("\n".join(line[2:] for line in lines if "=" in line and line[2:].split("=")[0].isidentifier()))
    return dotenv_values("all.env")


def test_env_example_has_every_setting_once() -> None:
    assert set(example()) - COMPOSE_ONLY == known_names()
    names = [line.split("=")[0] for line in reference.env_example().splitlines() if line.startswith("# AI_ASSISTANT_")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("process", [name for name in PROCESSES if name != "chat"])
def test_env_example_states_the_defaults(process: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = PROCESSES[process].load()
    for name, value in example().items():
        monkeypatch.setenv(name, value or "")
    assert PROCESSES[process].load() == expected


def test_compose_needs_the_first_two() -> None:
    names = list(example())
    assert names[:2] == ["POSTGRES_PASSWORD", "AI_ASSISTANT_API_KEYS"]


def test_secrets_are_empty() -> None:
    given = example()
    for process in PROCESSES.values():
        for name, field in process.model_fields.items():
            if reference.is_secret(field):
                assert not given[f"AI_ASSISTANT_{name.upper()}"]
    assert reference.is_secret(GatewaySettings.model_fields["api_keys"])
    assert not reference.is_secret(GatewaySettings.model_fields["allowed_hosts"])


def test_every_setting_has_a_meaning() -> None:
    for settings in PROCESSES.values():
        docs = reference.attribute_docs(settings)
        assert [name for name in settings.model_fields if not docs.get(name)] == []


def test_settings_page_has_every_setting() -> None:
    page = reference.settings_page()
    assert [name for name in known_names() if f"`{name}`" not in page] == []
    assert "| `AI_ASSISTANT_SERVICE_TOKEN` | text, secret |" in page


def test_computed_defaults_are_described() -> None:
    fields = [item for process in PROCESSES.values() for item in process.model_fields.items()]
    assert {name for name, field in fields if field.default_factory is not None} == set(reference.COMPUTED)


def test_metrics_page() -> None:
    page = reference.metrics_page()
    assert "| `ai_assistant_queue_depth` | gauge | `assistant` |" in page
    assert "| `ai_assistant_tasks_finished_total` | counter | `assistant`, `state`, `finish_reason` |" in page


def test_commands_page() -> None:
    page = reference.commands_page()
    assert "## `ai-assistant gateway`" in page
    assert str(Path.home()) not in page


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = reference.pages()
    monkeypatch.setenv("AI_ASSISTANT_MAX_BODY_BYTES", "2048")
    monkeypatch.setenv("AI_ASSISTANT_UNKNOWN", "1")
    monkeypatch.setenv("PORT", "9999")
    monkeypatch.setenv("COLUMNS", "40")
    assert reference.pages() == before


def test_check_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check"], tmp_path) == 1
    assert reference.main([], tmp_path) == 0
    assert reference.main(["--check"], tmp_path) == 0
    capsys.readouterr()
    (tmp_path / "docs/reference/metrics.md").write_text("old")
    assert reference.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == "out of date: docs/reference/metrics.md (run `make generate`)\n"
    assert reference.main([], tmp_path) == 0
    assert capsys.readouterr().out == "wrote docs/reference/metrics.md\n"
