"""docs/benchmarks.md out of docs/benchmarks.json. A pure function: the same numbers give the same page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bench.gates import Verdict, judge
from bench.results import Run, Spread

LOADS = {
    "sequential": "one by one, 16 chats",
    "mixed-1": "C=1",
    "mixed-4": "C=4",
    "mixed-8": "C=8",
    "mixed-16": "C=16",
    "mixed-16-all": "C=16, 32 chats",
}

HOW = """\
How it is measured. All contenders answer the same prompts (`tests/bench/workload.json`: token ids, 38 to 250 per prompt)
with the same number of tokens each (29 to 128), greedily and without stopping at an end token, on all cores of the machine.
*C* requests are in flight: as soon as one ends, the next is handed in. Each contender is a process of its own and only one
is alive at a time; the rounds go through all of them, every other round backwards, so that what else happens on the machine
hits all alike. A cell is the median over the rounds, with the lowest and the highest in brackets; a ratio is computed within
each round. Output tokens per second include the reading of the prompts. What nothing is demanded of is measured in the first
round only.

* **ours**: `LLMEngine` with 16 slots, one process. A fresh engine for every run, so no prompt has been read before.
* **optimum**: `ORTModelForCausalLM.generate`, fp32. C=1 is one chat after the other; C=8 and C=16 are static batches, padded on
  the left. What a row generates beyond its own answer is not counted.
* **onnxruntime-genai**: its `Engine` on CPU (which batches statically there) with the int4 model of its own builder.
* **llama.cpp**: its own `llama-server -np C -cb`, compiled for this machine. llama-cpp-python's server answers one request at a
  time; this is the stronger rival. Its client takes a share of the CPU as well, at most some percent of one core (see the JSON).
  Q4_1 is the file as published; Q8_0 and Q4_0 are made from it by `llama-quantize`.

`make bench` takes about half an hour; the first time another half hour to fetch and compile the rivals, 12 GB in
`~/.cache/ai-assistant-bench` (`AI_ASSISTANT_BENCH_HOME`). `make bench QUICK=1` and `make bench BENCH=ours-int8,llama-q4_0`
measure less and leave these files alone. Nothing else should run on the machine meanwhile.
"""


def render(run: Run) -> str:
    """The whole page."""
    parts = [
        "# Benchmarks\n\nGenerated from `benchmarks.json` by `make bench`; do not edit.\n",
        _circumstances(run),
        _missing(run),
        "## What it has to show\n",
        _gates(judge(run)),
        HOW,
        "## Output tokens per second\n",
        _by_load(run, "tokens_per_second", LOADS),
        "## Time to the first token, ms (median / 95th percentile)\n",
        _by_load(run, "ttft_p50_ms", LOADS, "ttft_p95_ms"),
        "## Time between tokens, ms (median / 99th percentile)\n",
        _by_load(run, "itl_p50_ms", LOADS, "itl_p99_ms"),
        "## One chat, load and memory\n",
        _alone(run),
        "## Conversations\n",
        _conversations(run),
        "## The whole path\n",
        _whole_path(run),
        "## Memory of ours\n",
        _memory(run),
    ]
    return "\n".join(part for part in parts if part)


def _circumstances(run: Run) -> str:
    kind = "QUICK RUN, NOT FOR QUOTING; " if run.is_quick else ""
    machine = ", ".join(f"{name} {value}" for name, value in run.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in run.versions.items())
    rounds = len(run.rounds)
    return f"{kind}{run.date}, {rounds} round{'s' * (rounds != 1)}, {run.minutes:.0f} minutes.\n\n* {machine}\n* {versions}\n"


def _missing(run: Run) -> str:
    lines = [f"* **{run.titles.get(name, name).upper()} WAS NOT MEASURED**: {reason}" for name, reason in run.failures.items()]
    return "\n".join([*lines, ""]) if lines else ""


def _gates(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [
            verdict.gate.against,
            verdict.gate.what,
            verdict.gate.demand,
            f"{_cell(verdict.spread)} {verdict.gate.unit}" if verdict.spread else "–",
            {True: "pass", False: "**FAIL**", None: "not measured"}[verdict.holds],
        ]
        for verdict in verdicts
    ]
    return _table(["against", "measurement (ours: int8)", "gate", "measured", ""], rows)


def _by_load(run: Run, name: str, loads: dict[str, str], second: str | None = None) -> str:
    rows = []
    for contender, title in run.titles.items():
        cells = [_pair(run, contender, measure, name, second) for measure in loads]
        if any(cell != "–" for cell in cells):
            rows.append([title, *cells])
    return _table(["", *loads.values()], rows)


def _pair(run: Run, contender: str, measure: str, name: str, second: str | None) -> str:
    first = run.spread(contender, measure, name)
    if second is None:
        return _cell(first)
    other = run.spread(contender, measure, second)
    return "–" if first is None or other is None else f"{_number(first.median)} / {_number(other.median)}"


def _alone(run: Run) -> str:
    columns: dict[str, Callable[[str], Spread | None]] = {
        "decode, tokens/s": lambda c: run.spread(c, "single", "decode_tokens_per_second"),
        "first token of a 200-token prompt, ms": lambda c: run.spread(c, "single", "ttft_ms"),
        "load, s": lambda c: run.spread(c, "load", "seconds"),
        "RSS loaded, MB": lambda c: run.spread(c, "load", "rss_mb"),
        "RSS after C=16, MB": lambda c: run.spread(c, "mixed-16", "rss_mb"),
    }
    rows = [
        [title, *(_cell(column(contender)) for column in columns.values())]
        for contender, title in run.titles.items()
        if run.spread(contender, "single", "ttft_ms")
    ]
    return _table(["", *columns], rows)


def _facts(run: Run, contender: str, measure: str, names: dict[str, str]) -> list[list[str]]:
    return [[title, _cell(spread)] for name, title in names.items() if (spread := run.spread(contender, measure, name))]


def _conversations(run: Run) -> str:
    turn = {
        "cold_ttft_ms": "first token of the turn after a conversation of 600 tokens, never seen, ms",
        "warm_ttft_ms": "the same where the first turn was answered, ms",
    }
    long = {
        "quiet_itl_p50_ms": "8 chats alone: median time between tokens, ms",
        "itl_p50_ms": "beside a prompt of 6,000 tokens: median, ms",
        "itl_p99_ms": "99th percentile, ms",
        "itl_max_ms": "longest, ms",
        "prompt_seconds": "first token of the long prompt, s",
    }
    return _table(
        ["", "ours, int8"], _facts(run, "ours-int8", "second-turn", turn) + _facts(run, "ours-int8", "long-prompt", long)
    )


def _whole_path(run: Run) -> str:
    names = {
        (16, "tokens_per_second"): "C=16, 32 chats, tokens/s",
        (1, "ttft_p50_ms"): "C=1, time to first token, median, ms",
        (16, "ttft_p50_ms"): "C=16, time to first token, median, ms",
        (16, "client_cpu_percent"): "CPU of the client, % of one core",
        (16, "rss_mb"): "RSS of the worker after C=16, MB",
    }
    rows = [
        [title, *(_cell(run.spread("platform", f"{kind}-{in_flight}", name)) for kind in ("alone", "chats"))]
        for (in_flight, name), title in names.items()
    ]
    rows = [row for row in rows if any(cell != "–" for cell in row[1:])]
    return "The same chats, greedy, up to their own end.\n\n" + _table(["", "engine alone", "gateway + queue + stream"], rows)


def _memory(run: Run) -> str:
    names = {
        "idle_mb": "idle, MB",
        "full_mb": "with 16 rows in use, MB",
        "context_tokens": "tokens in these rows",
        "kb_per_token": "KB per token",
        "given_back_seconds": "three quarters given back after, s",
        "after_mb": "then, MB",
    }
    return _table(["engine process, int8, 16 slots", ""], _facts(run, "ours-int8", "memory", names))


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    around = "" if spread.rounds == 1 else f" ({_number(spread.low)}–{_number(spread.high)})"
    return f"{_number(spread.median)}{around}"


def _number(value: float) -> str:
    """Three significant digits, but never less than the whole number."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    found = list(rows)
    if not found:
        return "Not measured.\n"
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *found]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
