"""Memory of one process with the demo model: little while idle, as much as the tokens take while busy, given back at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MIB = 2**20
IDLE_MIB = 700
BYTES_PER_TOKEN = 56 * 1024

PROGRAM = """
import json, sys, time
from pathlib import Path

from ai_assistant.engine.backends import load_runner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_package import load_package
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.tokenizer import Tokenizer


def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def serve(prompts, max_tokens=8):
    for number, prompt in enumerate(prompts):
        engine.add(Sequence(f"{time.monotonic()} {number}", prompt, SamplingParams(max_tokens, 0, ignore_eos=True)))
    while engine.has_work:
        assert not engine.step().failures


def prompt(number, length):
    return [(number * 7919 + offset * 31) % 40000 + 100 for offset in range(length)]


def parked():
    return engine.tidy().stats.parked_tokens


package = load_package(Path(sys.argv[1]))
tokenizer = Tokenizer.of_package(package)
config = EngineConfig(num_slots=16, park_seconds=3600)
engine = LLMEngine(load_runner(package, config, 1), config)
found = {"loaded": resident()}


def idle(name):
    while engine.scheduler.evict():
        pass
    engine.tidy()
    found[name] = resident()


# What an operator's scratch takes is kept once it was needed, and belongs to the process, not to the rows.
serve([prompt(n, 200) for n in range(16)], 2)
idle("idle")
serve([prompt(n + 50, 200) for n in range(16)], 8)
found["short rows"], found["short tokens"] = resident(), parked()
idle("after short rows")
serve([prompt(99, 2000)], 2)
found["long row"], found["long tokens"] = resident(), parked()
idle("after the long row")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(demo_package_int8: Path) -> dict[str, int]:
    arguments = [sys.executable, "-c", PROGRAM, str(demo_package_int8)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stderr
    measured: dict[str, int] = json.loads(result.stdout)
    return measured


def test_an_idle_process_is_small(found: dict[str, int]) -> None:
    for when in ("loaded", "idle", "after short rows", "after the long row"):
        assert found[when] < IDLE_MIB * MIB, when


def test_a_token_takes_what_its_keys_and_values_take(found: dict[str, int]) -> None:
    assert found["short tokens"] >= 16 * 200
    assert (found["short rows"] - found["idle"]) / found["short tokens"] < BYTES_PER_TOKEN


def test_a_long_row_stays_within_what_an_idle_process_and_its_tokens_may_take(found: dict[str, int]) -> None:
    assert found["long tokens"] >= 2000
    assert found["long row"] < IDLE_MIB * MIB + found["long tokens"] * BYTES_PER_TOKEN


def test_what_a_row_took_is_given_back_at_once(found: dict[str, int]) -> None:
    for when in ("after short rows", "after the long row"):
        assert found[when] - found["idle"] < 64 * MIB, when
