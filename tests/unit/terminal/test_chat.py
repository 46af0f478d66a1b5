"""`ai-assistant chat` and `ai-assistant status` as commands."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import ai_assistant
from ai_assistant.terminal.answer_view import safe
from ai_assistant.terminal.chat import branch, chat
from ai_assistant.terminal.status import queues_in, status
from gateway_double import HANG, GatewayDouble, done, event, token

app = typer.Typer()
app.command()(chat)
app.command()(status)


@pytest.fixture
def double() -> Iterator[GatewayDouble]:
    with GatewayDouble().running() as double:
        yield double


@pytest.fixture(autouse=True)
def settings(double: GatewayDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("AI_ASSISTANT_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AI_ASSISTANT_GATEWAY_URL", double.url)
    monkeypatch.setenv("AI_ASSISTANT_DATA_DIR", str(tmp_path / "data"))


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin, catch_exceptions=False)


def test_one_message_prints_only_the_answer(double: GatewayDouble) -> None:
    double.streams = [[event("queue", {"position": 1, "eta_seconds": None}), token(0, "Pa\x1b[2J"), done("Pa\x1b[2Jris")]]
    result = run("chat", "--message", "Capital?")
    assert (result.exit_code, result.stdout) == (0, "Pa[2Jris\n")


def test_answer_that_was_reset_is_printed_once_as_it_ended(double: GatewayDouble) -> None:
    double.streams = [[token(0, "Lyon"), event("reset", {"offset": 0}), token(0, "Paris"), done("Paris")]]
    assert run("chat", "-m", "x").stdout == "Paris\n"


def test_failed_answer_is_exit_code_1(double: GatewayDouble) -> None:
    error = {"code": "prompt_too_long", "message": "Too long."}
    double.streams = [[event("error", {"status": "failed", "text": "", "error": error})]]
    result = run("chat", "-m", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "[error: Too long.]" in result.stderr


def test_piped_lines_are_one_conversation(double: GatewayDouble) -> None:
    double.streams = [[done("one")], [done("two")]]
    result = run("chat", stdin="first\n\nsecond\n")
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\n")
    bodies = [body for _, _, _, body in double.of("POST")]
    assert bodies == [{"message": "first"}, {"message": "second", "conversation_id": double.conversation_id}]


def test_nothing_listens_says_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AI_ASSISTANT_GATEWAY_URL")
    monkeypatch.setenv("PORT", "1")
    for command in (["chat", "-m", "x"], ["status"]):
        result = run(*command)
        assert result.exit_code == 1
        assert "error: Nothing listens at http://127.0.0.1:1: start it with `make run`" in result.stderr


READY = {
    "status": "ready",
    "postgresql": "up",
    "redis": "up",
    "schema": {"current": "0001", "needed": "0001"},
    "workers": [{"name": "w1", "assistant": "assistant", "running": 2}],
    "assistants": [{"name": "assistant", "state": "ready"}],
}


def test_status_of_a_ready_gateway(double: GatewayDouble) -> None:
    double.answers["/readyz"] = (200, READY)
    result = run("status")
    assert result.exit_code == 0
    for text in ("ready", "postgresql", "current 0001, needed 0001", "w1", "assistant"):
        assert text in result.stdout
    assert json.loads(run("status", "--json").stdout) == READY


def test_status_of_a_gateway_that_is_not_ready(double: GatewayDouble) -> None:
    double.answers["/readyz"] = (503, {"status": "unavailable", "postgresql": "down"})
    result = run("status")
    assert result.exit_code == 1
    assert "down" in result.stdout


def test_queue_numbers_come_from_the_metrics() -> None:
    page = """# TYPE ai_assistant_queue_depth gauge
ai_assistant_queue_depth{assistant="a"} 3.0
ai_assistant_tasks{assistant="a",state="queued"} 3.0
ai_assistant_tasks{assistant="a",state="running"} 1.0
ai_assistant_queue_oldest_seconds{assistant="a"} 4.25
"""
    assert queues_in(page) == [{"assistant": "a", "in Redis": 3.0, "queued": 3.0, "running": 1.0, "oldest, s": 4.2}]


def test_history_follows_the_latest_branch() -> None:
    messages = [
        {"id": "1", "parent_id": None},
        {"id": "2", "parent_id": "1"},
        {"id": "3", "parent_id": "1"},
        {"id": "4", "parent_id": "3"},
    ]
    assert [item["id"] for item in branch(messages)] == ["1", "3", "4"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert safe("a\x1b]0;title\x07\tb\nc\r\x9b1m") == "a]0;title\tb\nc1m"


COMMAND = "import typer; from ai_assistant.terminal.chat import chat; typer.run(chat)"


class Terminal:
    """`chat` on a pseudo-terminal of its own."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        environment = os.environ | {"PYTHONPATH": str(Path(ai_assistant.__file__).parents[1]), "TERM": "dumb"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"import os, fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {COMMAND}"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        os.set_blocking(self.master, False)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < deadline, self.shown
            try:
                self.shown += os.read(self.master, 65536).decode()
            except (BlockingIOError, OSError):
                time.sleep(0.02)

    def wait_for(self, text: str) -> None:
        self.until(lambda: text in self.shown)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_ctrl_c_stops_the_answer_and_keeps_the_text(double: GatewayDouble, terminal: Terminal, tmp_path: Path) -> None:
    double.streams = [[token(0, "Once upon"), HANG], [done("second answer")]]
    double.answers[f"/api/chat/{double.task_id}"] = (200, {"status": "cancelled", "text": "Once upon a"})
    terminal.wait_for("> ")
    terminal.type("a story\n")
    terminal.wait_for("Once upon")
    terminal.type("\x03")
    terminal.wait_for("[stopped]")
    assert terminal.shown.replace("^C", "").count("Once upon a\r\n") == 1
    assert [path for _, path, _, _ in double.of("DELETE")] == [f"/api/chat/{double.task_id}"]
    terminal.type("/new\n")
    terminal.wait_for("[a new conversation]")
    terminal.type("again\n")
    terminal.wait_for("second answer")
    assert "conversation_id" not in double.of("POST")[1][3]
    terminal.type("\x04")
    terminal.until(lambda: terminal.process.poll() is not None)
    assert terminal.process.returncode == 0
    assert "a story" in (tmp_path / "data" / "chat_history").read_text()


def test_two_ctrl_c_at_the_prompt_quit(terminal: Terminal) -> None:
    terminal.wait_for("> ")
    terminal.type("\x03")
    terminal.wait_for("Ctrl-C again")
    terminal.type("\x03")
    terminal.until(lambda: terminal.process.poll() is not None)
    assert terminal.process.returncode == 0
