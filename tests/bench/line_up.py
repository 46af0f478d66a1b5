"""Who takes part, what each is asked, and where its model and its Python come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import installation
from bench.home import OWN_PYTHON, Home, rival_environment, tree_environment
from bench.job import Job, MixedRun

from ai_assistant.provision.graph import PRECISIONS

_NEEDS_CUDA = ("fp16", "bf16")
_DEFAULT_PRECISION = "int8"


@dataclass(frozen=True)
class Sizes:
    """How many chats a run has, by name, and how often single requests are repeated."""

    few: int = 4
    some: int = 8
    sixteen: int = 16
    all: int = 32
    single_repeats: int = 3


FULL = Sizes()
QUICK = Sizes(few=2, some=4, sixteen=6, all=8, single_repeats=1)

_RUNS = {
    "sequential": (1, "sixteen"),
    "mixed-1": (1, "few"),
    "mixed-4": (4, "some"),
    "mixed-8": (8, "sixteen"),
    "mixed-16": (16, "sixteen"),
    "mixed-16-all": (16, "all"),
}
_COMMON = ("mixed-1", "mixed-4", "mixed-8", "mixed-16")


@dataclass(frozen=True)
class Model:
    path: Path
    program: str = ""


@dataclass(frozen=True)
class Contender:
    name: str
    title: str
    module: str
    prepare: Callable[[Home], Model]
    runs: tuple[str, ...] = ()
    first_runs: tuple[str, ...] = ()
    """What no gate asks for, in the first round only."""
    environment: str | None = None
    """The virtual environment of a rival; None: the tree's own."""
    is_alone: bool = True
    """Also measured with one request at a time."""
    extras: tuple[str, ...] = ()
    once: bool = False
    """In the first round only."""

    def python(self, home: Home) -> Path:
        return OWN_PYTHON if self.environment is None else home.python(self.environment)

    def variables(self) -> dict[str, str]:
        return tree_environment() if self.environment is None else rival_environment()

    def job(self, model: Model, home: Home, workload: Path, threads: int, sizes: Sizes, number: int = 1) -> Job:
        """What it is asked in round `number`, counted from 1."""
        runs = [run for run in _RUNS if run in self.runs or (number == 1 and run in self.first_runs)]
        return Job(
            model=str(model.path),
            program=model.program,
            workload=str(workload),
            folder=str(home.logs),
            threads=threads,
            mixed=[MixedRun(run, _RUNS[run][0], getattr(sizes, _RUNS[run][1])) for run in runs],
            single_repeats=sizes.single_repeats if self.is_alone else 0,
            extras=list(self.extras),
            is_quick=sizes == QUICK,
        )


def line_up() -> list[Contender]:
    """All contenders in the order of the tables."""
    return [*_ours(), *_rivals()]


def _ours() -> list[Contender]:
    found = []
    for precision in PRECISIONS:
        if precision in _NEEDS_CUDA:
            continue
        is_default = precision == _DEFAULT_PRECISION
        found.append(
            Contender(
                f"ours-{precision}",
                f"ours, {precision}",
                "ours",
                partial(_package, precision=precision),
                (*_COMMON, "mixed-16-all") if is_default else ("mixed-1", "mixed-16"),
                () if is_default else ("mixed-4", "mixed-8"),
                extras=("memory", "second-turn", "long-prompt") if is_default else (),
            )
        )
    default = partial(_package, precision=_DEFAULT_PRECISION)
    platform = Contender("platform", "ours, int8, whole path over HTTP", "whole_path", default, is_alone=False)
    build = Contender("build-int8", "build of the int8 package", "build", lambda home: Model(installation.gguf(home)), once=True)
    return [*found, platform, build]


def _rivals() -> list[Contender]:
    optimum_runs = ("sequential", "mixed-1", "mixed-8", "mixed-16")
    return [
        Contender(
            "llama-q4_1",
            "llama.cpp server, Q4_1 (same GGUF)",
            "llama_server",
            partial(_llama, kind="Q4_1"),
            ("mixed-1", "mixed-16"),
            ("mixed-4", "mixed-8"),
        ),
        *(
            Contender(
                f"llama-{kind.lower()}",
                f"llama.cpp server, {kind}",
                "llama_server",
                partial(_llama, kind=kind),
                ("mixed-1", "mixed-4", "mixed-8", "mixed-16-all"),
                ("mixed-16",),
            )
            for kind in ("Q8_0", "Q4_0")
        ),
        Contender(
            "genai-int4",
            "onnxruntime-genai Engine, int4",
            "genai_engine",
            lambda home: Model(installation.genai_model(home)),
            ("mixed-1", "mixed-16"),
            ("mixed-4", "mixed-8"),
            environment="genai",
        ),
        Contender(
            "optimum",
            "optimum generate, fp32",
            "optimum_generate",
            lambda home: Model(installation.optimum_model(home)),
            optimum_runs,
            environment="optimum",
        ),
    ]


def _package(home: Home, precision: str) -> Model:
    return Model(installation.package(home, precision))


def _llama(home: Home, kind: str) -> Model:
    return Model(installation.llama_model(home, kind), program=str(installation.llama_server(home)))
