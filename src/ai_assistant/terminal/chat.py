"""`ai-assistant chat`: a conversation in the terminal with a running gateway."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from pydantic import Field

from ai_assistant.errors import AssistantError
from ai_assistant.settings import ClientSettings, default_data_dir
from ai_assistant.terminal.answer_view import AnswerView, safe
from ai_assistant.terminal.gateway_client import Accepted, GatewayClient

PROMPT = "> "
HISTORY_LINES = 1000
HELP = """\
/new       begin a new conversation
/history   show this conversation (or, before its first message, the latest conversations)
/help      show this help
/quit      quit (as Ctrl-D does)
Ctrl-C stops an answer that is being written."""


class ChatSettings(ClientSettings):
    """ClientSettings, and where the history of the input is kept."""

    data_dir: Path = Field(default_factory=default_data_dir)


def chat(
    conversation: Annotated[str | None, typer.Option(help="Go on with the conversation of this id.")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Send one message, print the answer, end.")] = None,
    assistant: Annotated[str | None, typer.Option(help="Name of the assistant. [default: the gateway's]")] = None,
) -> None:
    """Chat in the terminal with a running ai-assistant."""
    _tolerate_any_text()
    try:
        settings = ChatSettings.load()
        key = settings.gateway_key.get_secret_value() if settings.gateway_key else None
        with GatewayClient(settings.url, key) as client:
            client.check()
            talk = Chat(client, conversation, assistant)
            if message is not None:
                succeeded = talk.ask(message)
            elif sys.stdin.isatty():
                with input_history(settings.data_dir / "chat_history"):
                    succeeded = talk.run()
            else:
                succeeded = talk.run_piped(sys.stdin)
    except AssistantError as error:
        typer.echo(f"error: {error.message}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if succeeded else 1)


class Chat:
    """A conversation between a person and an assistant."""

    def __init__(self, client: GatewayClient, conversation_id: str | None, assistant: str | None = None) -> None:
        self._client = client
        self._assistant = assistant
        self.conversation_id = conversation_id

    def run(self) -> bool:
        """Read, send and show until the person quits."""
        typer.echo(f"Chatting at {self._client.url}. /help shows the commands.", err=True)
        interrupted = False
        while True:
            try:
                line = input(PROMPT).strip()
            except EOFError:
                typer.echo()
                return True
            except KeyboardInterrupt:
                typer.echo()
                if interrupted:
                    return True
                interrupted = True
                typer.echo("[Ctrl-C again or Ctrl-D quits]", err=True)
                continue
            interrupted = False
            if line == "/quit":
                return True
            try:
                if line.startswith("/"):
                    self.command(line)
                elif line:
                    self.ask(line)
            except AssistantError as error:
                typer.echo(f"error: {error.message}", err=True)

    def run_piped(self, lines: Iterator[str]) -> bool:
        """Each line is a message of one conversation; only answers are printed. Ends at the first that fails."""
        return all(self.ask(line) for line in (line.strip() for line in lines) if line)

    def command(self, line: str) -> None:
        """Do what a line that begins with a slash says."""
        if line == "/new":
            self.conversation_id = None
            typer.echo("[a new conversation]", err=True)
        elif line == "/history":
            self._show_history()
        elif line == "/help":
            typer.echo(HELP)
        else:
            typer.echo(f"There is no command {line.split()[0]}; /help shows them.", err=True)

    def ask(self, message: str) -> bool:
        """Send a message and show the answer as it comes; whether it succeeded. Ctrl-C stops the answer."""
        text = message.encode("utf-8", "replace").decode()
        try:
            accepted = self._client.send(text, self.conversation_id, assistant=self._assistant)
        except KeyboardInterrupt:
            typer.echo("\n[not sent]", err=True)
            return False
        self.conversation_id = accepted.conversation_id or self.conversation_id
        view = AnswerView()
        status: dict[str, Any] = {}
        try:
            for event in self._client.stream(accepted.task_id):
                view.take(event)
                status = getattr(event, "status", status)
        except KeyboardInterrupt:
            self._stop(accepted, view)
            return False
        return status.get("status") == "succeeded"

    def _stop(self, accepted: Accepted, view: AnswerView) -> None:
        """The answer so far stays in the conversation. A second Ctrl-C here quits."""
        status = self._client.cancel(accepted.task_id)
        view.end(status)

    def _show_history(self) -> None:
        if self.conversation_id is None:
            for item in self._client.conversations():
                typer.echo(f"{item['id']}  {safe(item.get('title', ''))}")
            typer.echo("[go on with one of them by `ai-assistant chat --conversation ID`]", err=True)
            return
        typer.echo(f"[conversation {self.conversation_id}]", err=True)
        for item in branch(self._client.conversation(self.conversation_id)["messages"]):
            typer.echo(f"{PROMPT if item['role'] == 'user' else ''}{safe(item['text'])}")


def branch(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages from the first one to the latest one, without the branches that were left."""
    by_id = {item["id"]: item for item in messages}
    found: list[dict[str, Any]] = []
    item = messages[-1] if messages else None
    while item is not None and item not in found:
        found.append(item)
        item = by_id.get(item.get("parent_id"))
    return found[::-1]


@contextlib.contextmanager
def input_history(path: Path) -> Iterator[None]:
    """Line editing with a history that outlives the run, where this Python has readline."""
    readline = _readline()
    if readline is None:
        yield
        return
    readline.set_history_length(HISTORY_LINES)
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            readline.write_history_file(path)


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:
        return None
    return readline


def _tolerate_any_text() -> None:
    """A terminal that cannot show a character shows `?` instead of ending the chat."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="replace")
