"""Runs the contenders round after round, each in a process of its own, one at a time."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.home import Home, SetupError, last_line
from bench.job import Job
from bench.line_up import Contender, Model, Sizes
from bench.results import Record

_LIMIT_SECONDS = 1200.0


class ContenderError(Exception):
    """A contender did not come to the end of its job."""


def order(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """Every other round backwards, so that a machine that gets slower or faster all the while favours nobody."""
    taking_part = [contender for contender in contenders if number == 1 or not contender.once]
    return taking_part if number % 2 else taking_part[::-1]


def prepare(contenders: Sequence[Contender], home: Home) -> tuple[dict[str, Model], dict[str, str]]:
    """The models of those that could be set up, and why the others could not."""
    models: dict[str, Model] = {}
    failures: dict[str, str] = {}
    for contender in contenders:
        try:
            models[contender.name] = contender.prepare(home)
        except SetupError as error:
            failures[contender.name] = str(error)
            home.say(f"{contender.title.upper()} CANNOT BE SET UP: {error}")
    return models, failures


def run_rounds(
    contenders: Sequence[Contender],
    models: Mapping[str, Model],
    home: Home,
    *,
    workload: Path,
    threads: int,
    sizes: Sizes,
    rounds: int,
    failures: dict[str, str],
) -> Iterator[Record]:
    """Yields every record as it is measured; whoever fails is named in `failures` and sits out from then on."""
    for number in range(1, rounds + 1):
        for contender in order(contenders, number):
            if contender.name in failures:
                continue
            job = contender.job(models[contender.name], home, workload, threads, sizes, number)
            try:
                with home.busy(f"round {number} of {rounds}: {contender.title}"):
                    for measure, values in run_contender(contender, job, home):
                        yield Record(number, contender.name, measure, values)
            except ContenderError as error:
                failures[contender.name] = f"round {number}: {error}"
                home.say(f"{contender.title.upper()} FAILED: {error}")


def run_contender(contender: Contender, job: Job, home: Home) -> Iterator[tuple[str, dict[str, float]]]:
    """The measurements of one process of one contender, as they come."""
    job_file, log = home.logs / f"{contender.name}.json", home.logs / f"{contender.name}.log"
    job.write(job_file)
    command = [contender.python(home), "-m", f"bench.contenders.{contender.module}", job_file]
    with log.open("wb") as errors:
        # The child reads its stdin only to learn that we are gone.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=contender.variables(), text=True
        )
    limit = threading.Timer(_LIMIT_SECONDS, process.kill)
    limit.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            record = json.loads(line)
            yield record["measure"], record["values"]
        if process.wait():
            raise ContenderError(f"exit code {process.returncode} ({last_line(log)}); all of it: {log}")
    finally:
        limit.cancel()
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
