"""How long and how much memory a build of our int8 package takes, its source being on the disk already."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

from bench.child import Emit, main
from bench.job import Job


def run(job: Job, emit: Emit) -> None:
    with TemporaryDirectory(prefix="bench-") as store:
        command = [sys.executable, "-m", "ai_assistant", "model", "build", job.model, "--precision", "int8", "--store", store]
        started = time.perf_counter()
        subprocess.run([*command, "--allow-inaccurate"], check=True, stdin=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
    peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    emit("build", {"seconds": seconds, "peak_mb": peak_kb * 1024 / 1e6})


if __name__ == "__main__":
    main(run)
