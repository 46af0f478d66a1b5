"""What the engine has to show, each computed from the numbers of one and the same round. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.results import Round, Run, Spread

OURS = "ours-int8"
OPTIMUM, GENAI, PLATFORM = "optimum", "genai-int4", "platform"
SAME_GGUF = "llama-q4_1"

Compute = Callable[[Round], float | None]


@dataclass(frozen=True)
class Gate:
    against: str
    what: str
    compute: Compute
    floor: float | None = None
    ceiling: float | None = None
    unit: str = "x"

    def holds(self, value: float) -> bool:
        return (self.floor is None or value >= self.floor) and (self.ceiling is None or value <= self.ceiling)

    @property
    def demand(self) -> str:
        return f"≥ {self.floor:g} {self.unit}" if self.floor is not None else f"≤ {self.ceiling:g} {self.unit}"


@dataclass(frozen=True)
class Verdict:
    gate: Gate
    spread: Spread | None
    """None: not measured."""

    @property
    def holds(self) -> bool | None:
        return None if self.spread is None else self.gate.holds(self.spread.median)


def judge(run: Run) -> list[Verdict]:
    """Every gate, by the median of its values over the rounds."""
    rounds = run.rounds
    return [Verdict(gate, Spread.of(v for current in rounds if (v := gate.compute(current)) is not None)) for gate in GATES]


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _speed(round_: Round, contender: str, measure: str) -> float | None:
    return round_.get(contender, measure, "tokens_per_second")


def _faster(rival: str, measure: str, rival_measure: str | None = None) -> Compute:
    return lambda r: _ratio(_speed(r, OURS, measure), _speed(r, rival, rival_measure or measure))


def _faster_than_best_llama(measure: str) -> Compute:
    def compute(round_: Round) -> float | None:
        speeds = [_speed(round_, name, measure) for name in round_.contenders("llama-")]
        return _ratio(_speed(round_, OURS, measure), max((speed for speed in speeds if speed is not None), default=None))

    return compute


def _value(contender: str, measure: str, name: str, scale: float = 1.0) -> Compute:
    def compute(round_: Round) -> float | None:
        value = round_.get(contender, measure, name)
        return None if value is None else value * scale

    return compute


def _quotient(contender: str, measure: str, above: str, below: str) -> Compute:
    return lambda r: _ratio(r.get(contender, measure, above), r.get(contender, measure, below))


def _first_token_speedup(round_: Round) -> float | None:
    return _ratio(round_.get(OPTIMUM, "single", "ttft_ms"), round_.get(OURS, "single", "ttft_ms"))


def _added_wait(round_: Round) -> float | None:
    there, here = (round_.get(PLATFORM, measure, "ttft_p50_ms") for measure in ("chats-1", "alone-1"))
    return None if there is None or here is None else there - here


def _kept_speed(round_: Round) -> float | None:
    return _ratio(_speed(round_, PLATFORM, "chats-16"), _speed(round_, PLATFORM, "alone-16"))


GATES = (
    Gate("optimum generate fp32, one by one", "16 mixed chats, ours at C=16", _faster(OPTIMUM, "mixed-16", "sequential"), 7.5),
    Gate("optimum, static batches of 8", "16 mixed chats, C=8", _faster(OPTIMUM, "mixed-8"), 4),
    Gate("optimum, static batch of 16", "16 mixed chats, C=16", _faster(OPTIMUM, "mixed-16"), 4),
    Gate("optimum generate fp32", "C=1 with the prompts", _faster(OPTIMUM, "mixed-1"), 2.5),
    Gate("optimum generate fp32", "first token of a 200-token prompt", _first_token_speedup, 2),
    Gate("llama.cpp server, same GGUF (Q4_1)", "C=16", _faster(SAME_GGUF, "mixed-16"), 3),
    Gate("llama.cpp server, its best quantisation", "C=16, 32 chats", _faster_than_best_llama("mixed-16-all"), 1.4),
    Gate("llama.cpp server, its best quantisation", "C=8", _faster_than_best_llama("mixed-8"), 1.3),
    Gate("llama.cpp server, its best quantisation", "C=4", _faster_than_best_llama("mixed-4"), 1.1),
    Gate("llama.cpp server, its best quantisation", "C=1", _faster_than_best_llama("mixed-1"), 0.9),
    Gate("onnxruntime-genai Engine int4", "16 mixed chats, C=16", _faster(GENAI, "mixed-16"), 2.2),
    Gate(
        "ours, conversation not seen before",
        "second turn after 600 tokens, first token",
        _quotient(OURS, "second-turn", "cold_ttft_ms", "warm_ttft_ms"),
        4,
    ),
    Gate("ours, engine alone", "through gateway, queue and stream, C=16", _kept_speed, 0.85),
    Gate("ours, engine alone", "time to first token added by the platform, C=1", _added_wait, ceiling=40, unit="ms"),
    Gate(
        "ours, the same 8 chats alone",
        "inter-token p99 beside a 6,000-token prompt / median without",
        _quotient(OURS, "long-prompt", "itl_p99_ms", "quiet_itl_p50_ms"),
        ceiling=4,
    ),
    Gate("—", "worker process, idle with 16 slots", _value(PLATFORM, "load", "rss_mb"), ceiling=700, unit="MB"),
    Gate("—", "memory per token of context in use", _value(OURS, "memory", "kb_per_token"), ceiling=56, unit="KB"),
    Gate("—", "memory of dropped rows given back after", _value(OURS, "memory", "given_back_seconds"), ceiling=5, unit="s"),
    Gate("—", "load of the engine", _value(OURS, "load", "seconds"), ceiling=2, unit="s"),
    Gate("—", "build of the package, time", _value("build-int8", "build", "seconds"), ceiling=30, unit="s"),
    Gate("—", "build of the package, memory", _value("build-int8", "build", "peak_mb", 1e-3), ceiling=2, unit="GB"),
)
