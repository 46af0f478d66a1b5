"""`make bench [QUICK=1] [BENCH=NAME,...] [ROUNDS=N]`; `make bench-report` writes the page anew."""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.home import Home
from bench.line_up import FULL, QUICK, Contender, line_up
from bench.machine import machine, versions
from bench.report import render
from bench.results import Record, Run
from bench.rounds import prepare, run_rounds
from bench.workload import DEFAULT_WORKLOAD, load_workload

_SHOWN = (
    *("tokens_per_second", "decode_tokens_per_second", "ttft_p50_ms", "ttft_ms", "warm_ttft_ms", "itl_p99_ms"),
    *("rss_mb", "kb_per_token", "seconds"),
)
DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    arguments = _parser().parse_args()
    home = Home.default()
    try:
        if arguments.command == "report":
            _write_page(DOCS / "benchmarks.json")
        else:
            with home.alone():
                _run(arguments, home)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description="This engine beside its rivals, on this machine.")
    parser.add_argument("command", nargs="?", choices=["run", "setup", "report"], default="run")
    parser.add_argument("--quick", action="store_true", help="fewer requests and one round; nothing is written into docs/")
    parser.add_argument("--only", default="", help="contenders by name, with commas between; nothing is written into docs/")
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--workload", type=Path, default=DEFAULT_WORKLOAD, help="JSON file with the chats")
    return parser


def choose(contenders: list[Contender], names: str) -> list[Contender]:
    """The contenders that are named; raises ValueError for a name that nobody has."""
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
    known = [contender.name for contender in contenders]
    for name in wanted:
        if name not in known:
            raise ValueError(f"There is no contender {name!r}; there are {', '.join(known)}.")
    return [contender for contender in contenders if not wanted or contender.name in wanted]


def _run(arguments: argparse.Namespace, home: Home) -> None:
    contenders = choose(line_up(), arguments.only)
    load_workload(arguments.workload)
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    if rounds < 1:
        raise ValueError("ROUNDS must be at least 1.")
    models, failures = prepare(contenders, home)
    if arguments.command == "setup":
        return
    threads = len(os.sched_getaffinity(0))
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    titles = {contender.name: contender.title for contender in contenders}
    run = Run(date, machine(threads), versions(), titles, is_quick=arguments.quick, failures=failures)
    is_whole = not (arguments.quick or arguments.only) and arguments.workload == DEFAULT_WORKLOAD
    target = DOCS / "benchmarks.json" if is_whole else home.root / "benchmarks.json"
    started = time.monotonic()
    sizes = QUICK if arguments.quick else FULL
    for record in run_rounds(
        contenders, models, home, workload=arguments.workload, threads=threads, sizes=sizes, rounds=rounds, failures=failures
    ):
        run.records.append(record)
        run.minutes = round((time.monotonic() - started) / 60, 1)
        # So that an interrupted run has not been for nothing.
        (home.root / "unfinished.json").write_text(run.to_json(), encoding="utf-8")
        home.say(_line(record, rounds, time.monotonic() - started))
    if not run.records:
        raise ValueError("Nothing could be measured; the reasons are above.")
    target.write_text(run.to_json(), encoding="utf-8")
    (home.root / "unfinished.json").unlink()
    _write_page(target)
    home.say(f"{run.minutes:g} minutes. Numbers: {target}  Page: {target.with_suffix('.md')}")


def _line(record: Record, rounds: int, seconds: float) -> str:
    numbers = "  ".join(f"{name} {record.values[name]:.4g}" for name in _SHOWN if name in record.values)
    return f"{seconds:5.0f} s  round {record.round}/{rounds}  {record.contender:16} {record.measure:13} {numbers}"


def _write_page(numbers: Path) -> None:
    run = Run.from_json(numbers.read_text(encoding="utf-8"))
    numbers.with_suffix(".md").write_text(render(run), encoding="utf-8")


if __name__ == "__main__":
    main()
