"""`ai-assistant model bench PACKAGE`: what this machine makes of a model package."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ai_assistant.errors import AssistantError

if TYPE_CHECKING:
    from rich.console import RenderableType

_BATCHES = [1, 4, 8, 16]


def bench_model(
    package: Annotated[Path, typer.Argument(help="Folder of the model package.", show_default=False)],
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, max=256, help="Sequences at once; can be given several times. [default: 1, 4, 8 and 16]"),
    ] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Length of the prompt whose first token is waited for.")] = 200,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens that each sequence grows by while its speed is taken.")] = 48,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Compute threads. [default: the processors this process may use]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Measure this machine with a model package: load time, first token, tokens per second and memory.

    Takes under a minute with a small model. Other programs on the machine make the numbers worse: stop them first.
    For a comparison with other engines there is `make bench` in the source tree.
    """
    try:
        found = _measure(package, batch or _BATCHES, prompt_tokens, tokens, threads)
    except (AssistantError, ValueError) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is not installed; install ai-assistant with the extra `worker`.")
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    from rich.console import Console

    Console().print(_table(found))


def _measure(folder: Path, batches: list[int], prompt_tokens: int, tokens: int, threads: int | None) -> dict[str, Any]:
    from rich.console import Console

    from ai_assistant.engine.backends import load_runner
    from ai_assistant.engine.benchmark import decode_speed, first_token_seconds, resident_bytes
    from ai_assistant.engine.config import EngineConfig
    from ai_assistant.engine.model_package import load_package

    console = Console(stderr=True)
    with console.status("Loading the model") if console.is_terminal else nullcontext() as status:

        def show(doing: str) -> None:
            if status is not None:
                status.update(doing)

        started = time.perf_counter()
        package = load_package(folder)
        runner = load_runner(package, EngineConfig(), threads)
        load_seconds, loaded_bytes = time.perf_counter() - started, resident_bytes()
        show(f"Waiting for the first token after {prompt_tokens}")
        first_token = first_token_seconds(runner, prompt_tokens)
        speeds = {}
        for count in dict.fromkeys(batches):
            show(f"Generating with {count} at once")
            speeds[str(count)] = round(decode_speed(runner, count, tokens), 2)
    return {
        "package": package.digest,
        "model": package.manifest.source.name or package.manifest.source.given,
        "precision": package.manifest.precision,
        "threads": threads or len(os.sched_getaffinity(0)),
        "load_seconds": round(load_seconds, 3),
        "prompt_tokens": prompt_tokens,
        "first_token_seconds": round(first_token, 4),
        "tokens_per_second": speeds,
        "loaded_bytes": loaded_bytes,
        "resident_bytes": resident_bytes(),
    }


def _table(found: dict[str, Any]) -> RenderableType:
    from rich.table import Table

    table = Table(title=f"{found['model']}, {found['precision']}, {found['threads']} threads", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("load", f"{found['load_seconds']:.2f} s")
    table.add_row(f"first token after {found['prompt_tokens']}", f"{1000 * found['first_token_seconds']:.0f} ms")
    for batch, speed in found["tokens_per_second"].items():
        table.add_row(f"{batch} at once", f"{speed:.1f} tokens/s")
    table.add_row("memory, loaded", f"{found['loaded_bytes'] / 1e6:.0f} MB")
    table.add_row("memory, afterwards", f"{found['resident_bytes'] / 1e6:.0f} MB")
    return table


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(1)
