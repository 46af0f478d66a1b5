"""The command `ai-assistant`: one subcommand per process. Imports are made by the command that needs them, so that each
process loads its own dependencies only."""

import asyncio
import sys
from typing import Annotated

import typer

from ai_assistant import __version__
from ai_assistant.errors import AssistantError

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
        database = Database(settings.database_url.get_secret_value(), pool_size=1)
        try:
            return await migrations.migrate(database, revision)
        finally:
            await database.close()

    before, after = asyncio.run(run())
    typer.echo(f"schema {before or 'empty'} -> {after or 'empty'}")


def main() -> None:
    """Entry point: an expected error is one sentence, not a traceback."""
    try:
        app()
    except AssistantError as error:
        typer.echo(f"error: {error.message}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
