"""The command `ai-assistant`: one subcommand per process.

Imports are made for the command that is called, so that each process loads, and each image holds, its own dependencies only.
"""

import asyncio
import os
import signal
import sys
from importlib import import_module
from typing import Annotated

import typer

from ai_assistant import __version__
from ai_assistant.errors import AssistantError, ConfigurationError

app = typer.Typer(
    name="ai-assistant",
    help="A self-hosted AI assistant for chats. `ai-assistant up` starts everything on this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def show_version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """A self-hosted AI assistant for chats."""


@app.command()
def gateway() -> None:
    """Serve the HTTP API and the chat page (settings: AI_ASSISTANT_*, see .env.example)."""
    from ai_assistant import logs
    from ai_assistant.gateway.server import run
    from ai_assistant.settings import GatewaySettings

    settings = GatewaySettings.load()
    logs.configure(settings, "gateway")
    run(settings)


@app.command()
def worker() -> None:
    """Answer tasks of one assistant with a model on this machine."""
    from ai_assistant import logs
    from ai_assistant.settings import WorkerSettings

    settings = WorkerSettings.load()
    logs.configure(settings, "worker")
    from ai_assistant.worker.app import run

    sys.exit(run(settings))


@app.command()
def bot() -> None:
    """Chat in Telegram (AI_ASSISTANT_TELEGRAM_TOKEN)."""
    from ai_assistant import logs
    from ai_assistant.settings import BotSettings

    settings = BotSettings.load()
    logs.configure(settings, "bot")
    from ai_assistant.bot.app import run

    run(settings)


@app.command()
def migrate(
    revision: Annotated[str, typer.Argument(help="Schema revision; `base` removes everything.")] = "head",
) -> None:
    """Bring the database schema up to date; safe to run from several places at once."""
    from ai_assistant import logs
    from ai_assistant.database import migrate as migrations
    from ai_assistant.database.session import Database
    from ai_assistant.settings import PlatformSettings

    settings = PlatformSettings.load()
    logs.configure(settings, "migrate")

    async def run() -> tuple[str | None, str | None]:
        database = Database(settings.database_url.get_secret_value(), pool_size=1, command_seconds=None)
        try:
            return await migrations.migrate(database, revision)
        finally:
            await database.close()

    before, after = asyncio.run(run())
    typer.echo(f"schema {before or 'empty'} -> {after or 'empty'}")


MOUNTED = {
    "up": ("ai_assistant.standalone.cli", "up", "standalone"),
    "chat": ("ai_assistant.terminal.chat", "chat", None),
    "status": ("ai_assistant.terminal.status", "status", None),
    "model": ("ai_assistant.provision.cli", "model_app", "provision"),
}
"""Command: its module, the object in it, and the extra that it needs."""


def mount(wanted: str | None) -> typer.Typer:
    """The application with the command `wanted`, or with every command whose dependencies are installed."""
    for name, (module, attribute, extra) in MOUNTED.items():
        if wanted not in (None, name):
            continue
        try:
            command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if wanted is None or (error.name or "").startswith("ai_assistant"):
                continue
            raise ConfigurationError(
                f"`ai-assistant {name}` needs {error.name}: install ai-assistant with the extra `{extra}`."
            ) from error
        if isinstance(command, typer.Typer):
            from ai_assistant.engine.bench_command import bench_model
            from ai_assistant.engine.try_command import try_model

            command.command("try")(try_model)
            command.command("bench")(bench_model)
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def end_on_sigterm() -> None:
    """In a container this is process 1, for which the kernel ignores SIGTERM until somebody handles it: not even a worker that
    still loads its model would stop. The long-running commands put their own handlers in this one's place."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def main() -> None:
    """Entry point: an expected error is one sentence, not a traceback."""
    end_on_sigterm()
    wanted = sys.argv[1] if len(sys.argv) > 1 else None
    known = {*MOUNTED, *(command.name or command.callback.__name__ for command in app.registered_commands if command.callback)}
    try:
        mount(wanted if wanted in known else None)()
    except AssistantError as error:
        typer.echo(f"error: {error.message}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
