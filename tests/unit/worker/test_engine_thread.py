"""The engine's thread: what it does while there is nothing to compute, and what of a step becomes a metric."""

import queue

from prometheus_client import CollectorRegistry

from ai_assistant.engine.backends.fake import FakeRunner
from ai_assistant.engine.config import EngineConfig
from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.sampling import SamplingParams
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.step_output import StepOutput
from ai_assistant.metrics import WorkerMetrics
from ai_assistant.worker.engine_thread import EngineThread
from ai_assistant.worker.step_metrics import StepMetrics


def test_an_idle_engine_gives_back_what_was_parked_without_being_asked() -> None:
    runner, outputs = FakeRunner(), queue.SimpleQueue[StepOutput]()
    engine = LLMEngine(runner, EngineConfig(park_seconds=0.3))
    thread = EngineThread(engine, outputs.put, lambda error: None)
    thread.start()
    try:
        thread.add(Sequence("a", [1] * 50, SamplingParams(2, 0, ignore_eos=True))).result(5)
        while outputs.get(timeout=5).stats.num_parked == 0:
            pass
        assert runner.num_tokens_held > 0
        idle = outputs.get(timeout=5)
        assert (idle.tokens, idle.stats.num_parked, idle.stats.num_running) == ([], 0, 0)
        assert runner.num_tokens_held == 0
        thread.add(Sequence("b", [1] * 50, SamplingParams(1, 0))).result(5)
        assert outputs.get(timeout=5).tokens[0].seq_id == "b"
    finally:
        thread.stop()
        thread.join(5)
    assert not thread.is_alive()


def test_counters_grow_by_what_is_new() -> None:
    registry = CollectorRegistry()
    recorder = StepMetrics(WorkerMetrics(registry), "default")
    engine = LLMEngine(FakeRunner(), EngineConfig())
    for name in ("a", "b", "c"):
        engine.add(Sequence(name, [1] * 50, SamplingParams(2, 0, ignore_eos=True)))
        while engine.has_work:
            recorder.record(engine.step().stats)

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"ai_assistant_{name}", {"assistant": "default"})

    assert value("prefill_tokens_total") == 50 + 2 + 2
    assert value("prefix_reused_tokens_total") == 2 * 48
    assert value("engine_parked_rows") == 1
    assert value("engine_parked_tokens") == 51
    assert value("engine_slots_in_use") == value("engine_preemptions_total") == value("engine_evictions_total") == 0
