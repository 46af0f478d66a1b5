"""`ai-assistant up`: everything on this machine (what `make run` calls)."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from ai_assistant.errors import AssistantError, NoSpaceError
from ai_assistant.settings import StandaloneSettings
from ai_assistant.standalone.console import Console
from ai_assistant.standalone.data_folder import FULL
from ai_assistant.standalone.supervisor import PROGRAM, Supervisor


def up(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show everything that the parts write.")] = False,
    model: Annotated[str | None, typer.Option(help="Source of the model. [default: $AI_ASSISTANT_MODEL]")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32, int8, int8-weights, int4 or fp16. [default: $AI_ASSISTANT_PRECISION]")
    ] = None,
) -> None:
    """Run everything on this machine: database, queue, gateway, worker, and the bot if it has a token."""
    given = {name: value for name, value in (("model", model), ("precision", precision)) if value}
    raise typer.Exit(run(Console(verbose=verbose), given))


def run(console: Console, given: Mapping[str, str], program: Sequence[str] = PROGRAM) -> int:
    """Run until Ctrl-C; returns the exit code, having said what is wrong. `program` is `ai-assistant` as a child."""
    try:
        asyncio.run(Supervisor(StandaloneSettings.load(**given), console, program=program).run())
    except AssistantError as error:
        console.say(f"error: {error.message}")
        return 1
    except OSError as error:
        if error.errno not in FULL:
            raise
        console.say(f"error: {NoSpaceError.__doc__} Free some space and start again.")
        return 1
    return 0
