"""The demo model in fp16 on a real GPU: `make gpu-test`. Skipped, loudly, where there is none.

TEST_DEVICE names the device; with `cpu` the same is run on the CPU provider, to try the tests themselves.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from demo_model import SOURCE, cache_folder

from ai_assistant.engine.backends import load_runner
from ai_assistant.engine.backends.cuda_runtime import CudaMemory, look_for_cuda
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.device import CUDA, parse_device, usable_cuda
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.model_package import load_package
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import Sequence
from ai_assistant.provision.build import build_package

pytestmark = pytest.mark.cuda

CASES = json.loads((Path(__file__).parents[1] / "reference" / "smollm2_reference.json").read_text(encoding="utf-8"))["cases"]
BATCHES = (1, 2, 3, 4, 8, 16)
# What rounding to fp16 does to a logit of this model; a wrong graph or a row mixed up with another is off by whole units.
SAME_LOGIT = 0.5
GREEDY_TOKENS = 8


@pytest.fixture(scope="module")
def device() -> str:
    asked = os.environ.get("TEST_DEVICE") or "cuda"
    request = parse_device(asked)
    if request.kind == "cuda" and (missing := usable_cuda(request, onnxruntime.get_available_providers(), look_for_cuda)):
        pytest.skip(f"NO GPU WAS TESTED, NOTHING IS KNOWN ABOUT CUDA: {missing}")
    return asked


@pytest.fixture(scope="module")
def package(device: str) -> Path:
    store = cache_folder() / "models"
    store.mkdir(parents=True, exist_ok=True)
    return build_package(SOURCE, precision="fp16", device=device, store=store)


@pytest.fixture(scope="module")
def runner(package: Path, device: str) -> Any:
    return load_runner(load_package(package), EngineConfig(device=device))


def prefilled(runner: Any, num_rows: int) -> list[int]:
    """Fills rows with the prompts of the cases, over and over; their lengths."""
    prompts = [CASES[row % len(CASES)]["prompt_ids"] for row in range(num_rows)]
    runner.resize(num_rows, 256, [])
    for row, prompt in enumerate(prompts):
        runner.prefill(row, prompt, 0)
    return list(map(len, prompts))


def test_the_session_and_its_rows_are_on_the_device(runner: Any, device: str) -> None:
    if device == "cpu":
        pytest.skip("the tests themselves are being tried on a CPU")
    assert runner._session.get_providers()[0] == CUDA
    assert runner.kv_memory_bytes > 0
    memory = CudaMemory(parse_device(device).index)
    runner.resize(1, 256, [])
    before = memory.free_bytes()
    runner.resize(16, 4096, [])
    taken = before - memory.free_bytes()
    assert taken == pytest.approx(16 * 4096 * runner.kv_bytes_per_token, rel=0.1)
    runner.resize(1, 256, [])
    assert memory.free_bytes() == pytest.approx(before, rel=0.02)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_greedy_answers_begin_as_pytorch_s_in_fp32(runner: Any, number: int) -> None:
    case = CASES[number]
    engine = LLMEngine(runner, EngineConfig(num_slots=1))
    wanted = case["greedy_ids"][:GREEDY_TOKENS]
    engine.add(Sequence("a", case["prompt_ids"], SamplingParams(len(wanted), temperature=0)))
    found = []
    while engine.has_work:
        step = engine.step()
        assert not step.failures
        found += [token.token_id for token in step.tokens if token.token_id is not None]
    assert found == wanted


def test_every_step_of_known_answers_is_near_pytorch_s(runner: Any) -> None:
    """Teacher-forced, so that one near tie does not end the comparison."""
    agreed = total = 0
    for case in CASES:
        ids, answer = case["prompt_ids"], case["greedy_ids"]
        runner.resize(1, 512, [])
        logits = runner.prefill(0, ids, 0)
        for token_id, value in case["first_logits_top5"]:
            assert logits[token_id] == pytest.approx(value, abs=SAME_LOGIT)
        for past, token_id in enumerate(answer, start=len(ids)):
            agreed += int(logits.argmax()) == token_id
            total += 1
            logits = runner.decode([token_id], [past])[0]
    print(f"\nsame likeliest token as PyTorch in fp32: {agreed} of {total}")
    assert agreed >= 0.97 * total


def test_a_row_does_not_depend_on_its_batch(runner: Any) -> None:
    """Within fp16's rounding; whether it is the same bits, which CPUs give, is printed."""
    lengths = prefilled(runner, 16)
    alone = []
    for row in range(16):
        prefilled(runner, 1)
        runner.prefill(0, CASES[row % len(CASES)]["prompt_ids"], 0)
        alone.append(runner.decode([42], [lengths[row]])[0].copy())
    prefilled(runner, 16)
    print()
    for batch in BATCHES:
        together = runner.decode([42] * batch, lengths)
        off = max(float(np.abs(together[row] - alone[row]).max()) for row in range(batch))
        print(f"batch of {batch:2}: largest difference to a row alone {off:g}")
        assert off <= SAME_LOGIT


def test_rows_survive_moving_exchanging_and_growing(runner: Any) -> None:
    lengths = prefilled(runner, 4)
    before = runner.decode([42] * 4, lengths).copy()
    longest = max(lengths) + 1
    runner.swap(0, 1, longest)
    runner.resize(6, 1024, [lengths[1], lengths[0], *lengths[2:]])
    runner.move(3, 4, longest)
    runner.move(4, 2, longest)
    after = runner.decode([42] * 4, [lengths[1], lengths[0], lengths[3], lengths[3]])
    for row, source in enumerate((1, 0, 3, 3)):
        assert np.abs(after[row] - before[source]).max() <= SAME_LOGIT


def test_a_prompt_in_chunks_is_the_whole_prompt(runner: Any) -> None:
    prompt = [token_id for case in CASES for token_id in case["prompt_ids"]][:200]
    runner.resize(1, 256, [])
    whole = runner.prefill(0, prompt, 0).copy()
    for start in range(0, 200, 50):
        chunked = runner.prefill(0, prompt[start : start + 50], start)
    assert np.abs(chunked - whole).max() <= SAME_LOGIT


def test_many_rows_are_faster_than_one(runner: Any) -> None:
    speeds = {}
    for batch in BATCHES:
        lengths = prefilled(runner, batch)
        for step in range(20):
            if step == 4:
                started = time.perf_counter()
            runner.decode([42] * batch, [length + step for length in lengths])
        speeds[batch] = 16 * batch / (time.perf_counter() - started)
    print("\n" + ", ".join(f"{batch} rows: {speed:.0f} tokens/s" for batch, speed in speeds.items()))
    assert speeds[16] > 1.5 * speeds[1]
