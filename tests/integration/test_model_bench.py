"""`ai-assistant model bench` with the demo model, as a person types it, and the workload of `make bench`."""

import json
import subprocess
import sys
from pathlib import Path

from bench.workload import DEFAULT_WORKLOAD, dump_workload
from bench.workload_generator import generate

from ai_assistant.engine.tokenizer import Tokenizer


def test_the_demo_model_is_measured(demo_package: Path) -> None:
    command = [sys.executable, "-m", "ai_assistant", "model", "bench", demo_package, "--batch", "1", "--batch", "4", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["precision"] == "fp32"
    # A batch reads the weights once for all of its sequences.
    assert found["tokens_per_second"]["4"] > found["tokens_per_second"]["1"] > 0
    # The weights alone are 538 MB, and not a multiple of that.
    assert 500e6 < found["resident_bytes"] < 1500e6


def test_the_workload_is_what_its_generator_writes(demo_package: Path) -> None:
    assert dump_workload(generate(Tokenizer.load(demo_package))) == DEFAULT_WORKLOAD.read_text(encoding="utf-8")
